"""Codes below 1: f = tanh(max(z, 0)), SAELens' activation function `tanh-relu` of versions before 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig


@dataclass(frozen=True)
class TanhreluConfig(LinearConfig):
    """A tanh-ReLU SAE has no fields of its own."""

    architecture: ClassVar[str] = "tanhrelu"


class TanhreluAutoencoder(LinearAutoencoder):
    """f = tanh(max(z, 0))."""

    config: TanhreluConfig

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return torch.tanh(torch.relu(self.pre_activations(x)))
