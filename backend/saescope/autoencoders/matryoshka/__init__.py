"""Matryoshka BatchTopK: nested prefixes of the features each reconstruct (Bussmann et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import AuxkSettings
from saescope.autoencoders.settings.run import Count, RunSettings
from saescope.options import Open, flag
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class MatryoshkaSettings(AuxkSettings[Open]):
    """Its groups."""

    group_sizes: Annotated[tuple[Count, ...], Meta(min_length=1)] | None = field(
        default=None, metadata=flag(default="1/32, 1/16, 1/8, 1/4 of the features and the rest")
    )
    """Features of each nested group, from the most general; they add up to n_features."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        sizes = self.group_sizes
        if sizes is not None and sum(sizes) != run.n_features:
            raise OptionError(
                f"group_sizes are {','.join(map(str, sizes))}, expected counts of at least 1 that add up to "
                f"n_features, {run.n_features}"
            )


ARCHITECTURE = Architecture(
    "matryoshka",
    settings=MatryoshkaSettings,
    config_at=f"{__name__}.module:MatryoshkaConfig",
    module_at=f"{__name__}.module:MatryoshkaAutoencoder",
    objective_at=f"{__name__}.objective:MatryoshkaObjective",
    constraint="k features fire on average, and every first group rebuilds alone: mean ||f||_0 <= k",
)
