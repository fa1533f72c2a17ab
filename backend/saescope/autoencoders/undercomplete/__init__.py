"""A bottleneck: fewer units than the input has dimensions, fully connected layers each way, nothing else that keeps it
from copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.layered import DenseSettings
from saescope.autoencoders.settings.run import RunSettings
from saescope.options import Open


@dataclass(frozen=True)
class UndercompleteSettings(DenseSettings[Open]):
    """Of an undercomplete autoencoder."""

    def remarks(self, run: RunSettings[Any], d_in: int) -> tuple[str, ...]:
        constrained = run.n_features < d_in or self.dropout > 0 or run.corruption != "none"
        if constrained:
            return ()
        return (
            f"the code has {run.n_features} units for {d_in} dimensions and no constraint, so it can copy its input "
            "and need not learn anything of the data: give it fewer, or --corruption or --dropout",
        )


ARCHITECTURE = Architecture(
    "undercomplete",
    settings=UndercompleteSettings,
    config_at=f"{__name__}.module:UndercompleteConfig",
    module_at=f"{__name__}.module:UndercompleteAutoencoder",
    objective_at=f"{__name__}.objective:UndercompleteObjective",
    constraint="the code is narrower than the input: n_features < d_in",
)
