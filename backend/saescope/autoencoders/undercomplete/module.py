"""An undercomplete autoencoder: fully connected layers each way and a linear bottleneck, f = z.

Codes are signed, and hardly ever 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.layered import DenseConfig, LayeredAutoencoder


@dataclass(frozen=True)
class UndercompleteConfig(DenseConfig):
    """An undercomplete autoencoder has no fields of its own."""

    architecture: ClassVar[str] = "undercomplete"


class UndercompleteAutoencoder(LayeredAutoencoder):
    """See the module."""

    config: UndercompleteConfig

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return self.pre_activations(x)
