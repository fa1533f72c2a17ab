"""What can be chosen of a build, and of the pass in it. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from saescope.metrics.defaults import N_CE_POSITIONS
from saescope.options import check_fields, flag

TopExamples = Annotated[int, Meta(ge=1, le=1000)]
Samples = Annotated[int, Meta(ge=1, le=255)]
Kept = Annotated[int, Meta(ge=1, le=10_000)]
AtLeastOne = Annotated[int, Meta(ge=1)]
DECIDES_NOTHING = {"decides": False}
"""Metadata of a field that does not decide the result."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build. All but the last three decide its result."""

    n_top: TopExamples = 20
    """Strongest examples kept per feature, at most one per item."""
    n_samples: Samples = 5
    """Examples kept per activation interval."""
    n_neighbours: Kept = 10
    """Nearest atoms kept per feature."""
    n_coactivations: Kept = 10
    """Features kept per feature that fire at the same positions."""
    n_sample_items: Kept = 64
    """Items whose full codes and reconstructions are kept."""
    n_top_tokens: Kept = 20
    """Texts: most frequent tokens kept per feature."""
    n_top_logits: Kept = 10
    """Texts: tokens kept per feature whose logits its atom raises most, and as many that it lowers."""
    n_ce_positions: Annotated[int, Meta(ge=0)] = N_CE_POSITIONS
    """Texts: predictions that cross-entropy is measured on; 0 leaves it out."""
    seed: int = 0
    """Of the samples."""
    block_rows: AtLeastOne | None = field(default=None, metadata=flag(hidden=True))
    """Positions encoded at a time; None chooses by the width of the code."""
    items_per_batch: AtLeastOne | None = field(default=None, metadata=DECIDES_NOTHING | flag(hidden=True))
    """Items read at a time; None lets the source choose."""
    save_every_s: float = field(default=60.0, metadata=DECIDES_NOTHING | flag(hidden=True))
    """Seconds between saved states of the pass."""
    device: str = field(default="auto", metadata=DECIDES_NOTHING | flag(metavar="DEVICE"))
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        check_fields(self)

    def deciding(self) -> dict[str, Any]:
        """The options that decide the result."""
        fields = self.__dataclass_fields__
        return {name: v for name, v in asdict(self).items() if fields[name].metadata.get("decides", True)}
