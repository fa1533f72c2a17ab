"""GroupMax codes: the features stand in k groups, and each group's largest pre-activation is kept, if it is positive.

    f_j = max(z_j, 0) where z_j is the largest of its group, else 0

Group g holds the features g n / k ... (g + 1) n / k - 1, n being n_features. As in sparsify's `groupmax` activation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.topk.module import check_k, scattered
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class GroupmaxConfig(LinearConfig):
    """A GroupMax SAE fires at most one feature of each of its `k` groups."""

    k: int = field(kw_only=True)
    """Number of groups, all of one size."""

    architecture: ClassVar[str] = "groupmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k, self.n_features)
        if self.n_features % self.k:
            raise OptionError(
                f"{self.n_features} features do not divide into {self.k} groups of one size",
                "choose n_features as a multiple of k",
            )


class GroupmaxAutoencoder(LinearAutoencoder):
    """Of equal pre-activations in a group the one of the lowest index is kept."""

    config: GroupmaxConfig

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection:
        return largest_of_groups(self.pre_activations(x), self.config.k)

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return scattered(self.select(x), self.config.n_features)


def largest_of_groups(z: Float[Tensor, "batch n_features"], k: int) -> Selection:
    """The largest entry of each of k contiguous groups of each row, ReLU applied."""
    size = z.shape[1] // k
    values, within = z.unflatten(1, (k, size)).max(dim=2)
    return Selection(within + torch.arange(0, z.shape[1], size, device=z.device), torch.relu(values))
