"""A deep SAE: several layers each way, with ReLU between them.

    z = layers of the encoder, h W_enc_i + b_enc_i each, ReLU after all but the last, applied to x
    f = max(z, 0), or the k largest z with negative ones set to 0, or 1 / (1 + exp(-z))
    x_hat = layers of the decoder, h W_dec_i + b_dec_i each, ReLU after all but the last, applied to f

With a hidden layer in the decoder a feature's effect depends on the others that fire, so it has no atom. A decoder
without one is linear, and its features have atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.layered import LayeredAutoencoder, LayeredConfig
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.topk.module import check_k, scattered
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class DeepConfig(LayeredConfig):
    """A deep SAE may keep its largest features."""

    k: int = 0
    """Features kept per position; 0: all that are positive."""
    sigmoid_code: bool = False
    """Whether the code is a sigmoid of z, of which all are kept."""

    architecture: ClassVar[str] = "deep"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k:
            check_k(self.k, self.n_features)
            if self.sigmoid_code:
                raise OptionError(f"k is {self.k}, but a sigmoid code keeps all features", "leave one of the two out")
        if self.sigmoid_code and not self.firing_threshold < 1:
            raise OptionError(f"firing_threshold is {self.firing_threshold}; a sigmoid code stays below 1")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields. Without a sigmoid code nothing is said of it."""
        values = super().to_dict()
        if not self.sigmoid_code:
            del values["sigmoid_code"]
        return values


class DeepAutoencoder(LayeredAutoencoder):
    """See the module."""

    config: DeepConfig

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection | None:
        return largest(self.pre_activations(x), self.config.k) if self.config.k else None

    def code(self, z: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch n_features"]:
        """What z comes to where all features are kept."""
        return torch.sigmoid(z) if self.config.sigmoid_code else torch.relu(z)

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        z = self.pre_activations(x)
        return scattered(largest(z, self.config.k), self.n_features) if self.config.k else self.code(z)
