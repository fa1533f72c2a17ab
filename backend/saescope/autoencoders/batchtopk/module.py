"""BatchTopK codes (Bussmann et al. 2024): k features per position on average, more where there is more to say.

In training the k x batch largest pre-activations of a whole batch are kept. For use, where a code must not depend on
its batch, that becomes one threshold for all features:

    f_j = max(z_j, 0) where z_j > threshold, else 0

A negative threshold was never calibrated: then the k largest of each position are kept, as in TopK.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.topk.module import check_k

UNCALIBRATED = -1.0
"""The threshold of an SAE that has none yet."""


@dataclass(frozen=True)
class BatchtopkConfig(LinearConfig):
    """A BatchTopK SAE fires `k` features per position on average."""

    k: int = field(kw_only=True)
    """Features kept per position, as a mean over the batches of training."""

    architecture: ClassVar[str] = "batchtopk"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k, self.n_features)


class BatchtopkAutoencoder(LinearAutoencoder):
    """Adds the scalar `threshold`, in units of the pre-activations."""

    config: BatchtopkConfig
    threshold: Float[Tensor, ""]

    def __init__(self, config: BatchtopkConfig) -> None:
        super().__init__(config)
        self.threshold = nn.Parameter(torch.tensor(UNCALIBRATED))

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), "threshold": self.threshold}

    @property
    def is_calibrated(self) -> bool:
        """Whether a threshold decides what fires, and not each position's k largest."""
        return float(self.threshold.detach()) >= 0

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection | None:
        """At most k per position while there is no threshold; a threshold sets no bound."""
        return None if self.is_calibrated else largest(self.pre_activations(x), self.config.k)

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        z = self.pre_activations(x)
        if self.is_calibrated:
            return torch.where(z > self.threshold, z, 0.0)
        chosen = largest(z, self.config.k)
        return torch.zeros_like(z).scatter_(1, chosen.indices, chosen.values)
