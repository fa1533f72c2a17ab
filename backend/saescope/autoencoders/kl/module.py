"""Sigmoid codes: f = 1 / (1 + exp(-z)). Sparse through a KL divergence to a target rate in training.

Every activation lies in (0, 1), so a feature counts as firing above one half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class KlConfig(LinearConfig):
    """A sigmoid SAE fires above one half."""

    firing_threshold: float = 0.5
    """A feature fires where its activation exceeds this."""

    architecture: ClassVar[str] = "kl"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.firing_threshold < 1:
            raise OptionError(f"firing_threshold is {self.firing_threshold}; a sigmoid code stays below 1")
        if self.rescale_by_decoder_norm:
            raise OptionError("a sigmoid code cannot carry the norm of its atom", "fold the norms into the weights")


class KlAutoencoder(LinearAutoencoder):
    """f = sigmoid(z)."""

    config: KlConfig

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return torch.sigmoid(self.pre_activations(x))
