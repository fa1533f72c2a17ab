"""ReLU codes: f = max(z, 0). Sparse through an L1 penalty in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig


@dataclass(frozen=True)
class ReluConfig(LinearConfig):
    """A ReLU SAE has no fields of its own."""

    architecture: ClassVar[str] = "relu"


class ReluAutoencoder(LinearAutoencoder):
    """f = max(z, 0)."""

    config: ReluConfig

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return torch.relu_(self.pre_activations(x))
