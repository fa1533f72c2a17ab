"""Matryoshka BatchTopK codes (Bussmann et al. 2025): features in nested groups, the first ones most general.

In training each prefix of the features, group by group, must reconstruct the input by itself. Encoding and decoding
with all features are those of BatchTopK; the groups are kept so that a prefix can be used alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

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

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Features in each nested prefix, the last one being all."""
        return tuple(sum(self.group_sizes[: i + 1]) for i in range(len(self.group_sizes)))


class MatryoshkaAutoencoder(BatchtopkAutoencoder):
    """BatchTopK whose features come in nested groups."""

    config: MatryoshkaConfig

    def decode_prefix(self, codes: Float[Tensor, "batch n_features"], groups: int) -> Float[Tensor, "batch d_out"]:
        """`decode` with the features of the first `groups` groups alone."""
        width = self.config.prefixes[groups - 1]
        kept = codes[:, :width]
        if self.config.rescale_by_decoder_norm:
            kept = kept / self.decoder_norms[:width]
        return torch.addmm(self.b_dec, kept, self.W_dec[:width])
