"""Matryoshka BatchTopK (Bussmann et al. 2025): each nested prefix of the features reconstructs the input by itself.

The loss is that of `auxk` with one reconstruction for each prefix: b_dec and the kept features of the first groups.
Which places are kept, and the threshold, are BatchTopK's. Without `group_sizes` the groups hold GROUPS of the features
(as in dictionary_learning), or fewer groups where there are too few features.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.batchtopk.objective import BatchtopkObjective
from saescope.autoencoders.matryoshka import MatryoshkaSettings
from saescope.autoencoders.matryoshka.module import MatryoshkaAutoencoder, MatryoshkaConfig
from saescope.autoencoders.objectives import sparse_codes

GROUPS = (32, 16, 8, 4)
"""The first groups hold one 32nd, one 16th, ... of the features; the last one holds the rest."""


class MatryoshkaObjective(BatchtopkObjective[MatryoshkaAutoencoder, MatryoshkaSettings[Never]]):
    """See the module."""

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Features that each group adds."""
        if self.own.group_sizes is not None:
            return self.own.group_sizes
        first = [size for size in (self.run.n_features // parts for parts in GROUPS) if size]
        return (*first, self.run.n_features - sum(first))

    def new_model(self, d_in: int) -> MatryoshkaAutoencoder:
        return MatryoshkaAutoencoder(MatryoshkaConfig(**self.fields(d_in), k=self.k, group_sizes=self.group_sizes))

    def decoded(
        self, model: MatryoshkaAutoencoder, entries: sparse_codes.Entries, values: Float[Tensor, " entry"], n_rows: int
    ) -> list[Float[Tensor, "batch d_in"]]:
        prefixes = tuple(accumulate(self.group_sizes))
        parts = sparse_codes.decode(sparse_codes.split_rows(entries, prefixes, n_rows), values, model.W_dec)
        sums = parts.unflatten(0, (n_rows, len(prefixes))).cumsum(1) + model.b_dec
        return list(sums.unbind(1))

    def decoded_dense(
        self, model: MatryoshkaAutoencoder, codes: Float[Tensor, "batch n_features"]
    ) -> list[Float[Tensor, "batch d_in"]]:
        parts = zip(codes.split(self.group_sizes, 1), model.W_dec.split(self.group_sizes), strict=True)
        sums: list[Tensor] = [model.b_dec]
        for group, atoms in parts:
            sums.append(torch.addmm(sums[-1], group, atoms))
        return sums[1:]
