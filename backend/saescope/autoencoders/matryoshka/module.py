"""Matryoshka BatchTopK codes (Bussmann et al. 2025): features in nested groups, the first ones most general.

In training each prefix of the features, group by group, must reconstruct the input by itself. Encoding and decoding
with all features are those of BatchTopK; the groups are kept so that a prefix can be used alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from saescope.autoencoders.batchtopk.module import BatchtopkAutoencoder, BatchtopkConfig
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class MatryoshkaConfig(BatchtopkConfig):
    """A Matryoshka SAE says how many features each nested group adds."""

    group_sizes: tuple[int, ...] = field(kw_only=True)
    """Features of each group; prefix g consists of the first g + 1 groups. They add up to n_features."""

    architecture: ClassVar[str] = "matryoshka"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.group_sizes or min(self.group_sizes) < 1 or sum(self.group_sizes) != self.n_features:
            raise OptionError(
                f"group_sizes are {list(self.group_sizes)}, expected counts of at least 1 that add up to n_features, "
                f"{self.n_features}"
            )


class MatryoshkaAutoencoder(BatchtopkAutoencoder):
    """BatchTopK whose features come in nested groups."""

    config: MatryoshkaConfig
