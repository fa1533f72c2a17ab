"""JumpReLU codes (Rajamanoharan et al. 2024): pre-activations above a threshold of each feature's own pass as they are.

    f_j = z_j where z_j > max(theta_j, 0), else 0

A threshold of 0 or less leaves ReLU. Thresholds stand beside the pre-activations: whatever is folded into the weights
so that raw activations go in leaves both alone, so a checkpoint's thresholds are those of raw activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig


@dataclass(frozen=True)
class JumpreluConfig(LinearConfig):
    """A JumpReLU SAE has no fields of its own: its thresholds are a tensor."""

    architecture: ClassVar[str] = "jumprelu"


class JumpreluAutoencoder(LinearAutoencoder):
    """Adds `threshold` [n_features], in units of the pre-activations."""

    config: JumpreluConfig
    threshold: Float[Tensor, " n_features"]

    def __init__(self, config: JumpreluConfig) -> None:
        super().__init__(config)
        self.threshold = nn.Parameter(torch.zeros(config.n_features))

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "threshold": self.threshold}

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        z = self.pre_activations(x)
        return torch.where(z > self.threshold.clamp(min=0), z, 0.0)
