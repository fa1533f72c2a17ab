"""What can be chosen of a build."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from saescope.metrics.defaults import N_CE_POSITIONS
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build. All but the last three decide its result."""

    n_top: int = 20
    """Top examples per feature."""
    n_samples: int = 5
    """Examples per interval."""
    n_neighbours: int = 10
    """Nearest atoms per feature."""
    n_coactivations: int = 10
    """Co-firing features per feature."""
    n_sample_items: int = 64
    """Items whose codes and reconstructions are kept."""
    n_top_tokens: int = 20
    """Texts: most frequent tokens kept per feature."""
    n_top_logits: int = 10
    """Texts: tokens kept per feature whose logits its atom raises most, and as many that it lowers."""
    n_ce_positions: int = N_CE_POSITIONS
    """Texts: predictions that cross-entropy is measured on; 0 leaves it out."""
    seed: int = 0
    """Seed of the sampling hash."""
    block_rows: int | None = None
    """Positions encoded at a time; None chooses by the width of the code."""
    items_per_batch: int | None = field(default=None, metadata={"decides": False})
    """Items read at a time; None lets the source choose."""
    save_every_s: float = field(default=60.0, metadata={"decides": False})
    """Seconds between saved states of the pass."""
    device: str = field(default="auto", metadata={"decides": False})
    """'auto', 'cpu' or 'cuda'."""

    def __post_init__(self) -> None:
        for name in ("n_neighbours", "n_coactivations", "n_sample_items", "n_top_tokens", "n_top_logits"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise OptionError(f"{name} is {getattr(self, name)}: expected 1 to 10,000")
        if self.n_ce_positions < 0:
            raise OptionError(f"n_ce_positions is {self.n_ce_positions}: expected 0 or more")

    def deciding(self) -> dict[str, Any]:
        """The options that decide the result."""
        fields = self.__dataclass_fields__
        return {name: v for name, v in asdict(self).items() if fields[name].metadata.get("decides", True)}
