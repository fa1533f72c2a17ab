"""A contractive autoencoder: fully connected layers each way and a sigmoid code, f = 1 / (1 + exp(-z)).

Every code lies in (0, 1), so a unit counts as firing above one half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.layered import DenseConfig, LayeredAutoencoder
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class ContractiveConfig(DenseConfig):
    """A contractive autoencoder fires above one half."""

    firing_threshold: float = 0.5
    """A unit fires where its activation exceeds this."""

    architecture: ClassVar[str] = "contractive"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.firing_threshold < 1:
            raise OptionError(f"firing_threshold is {self.firing_threshold}; a sigmoid code stays below 1")


class ContractiveAutoencoder(LayeredAutoencoder):
    """See the module."""

    config: ContractiveConfig

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return torch.sigmoid(self.pre_activations(x))

    def code_slopes(self, z: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch n_features"]:
        f = torch.sigmoid(z)
        return f * (1 - f)
