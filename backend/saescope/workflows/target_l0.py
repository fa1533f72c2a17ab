"""What to say where a run did not arrive at its target L0."""

from __future__ import annotations

MISS = 0.1
"""How far from the target, relative to it, an L0 is worth a note."""


def missed_target(architecture: str, target_l0: float, l0: float) -> str | None:
    """A note on an SAE whose L0 is not what was asked for, None where it is near enough."""
    if abs(l0 - target_l0) <= MISS * target_l0:
        return None
    return (
        f"its L0 is {l0:.3g}, not the target, {target_l0:g}: it may need more --steps, or lie where {architecture} "
        "cannot go on this data"
    )
