"""AbsTopK codes: the k pre-activations of largest magnitude of each position are kept, sign and all.

    f_j = z_j where |z_j| is among the k largest, else 0

So a feature may stand for a direction and its opposite. As in SAELens' architecture of this name and in sparsify's
early `signed` option.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.topk.module import check_k, scattered


@dataclass(frozen=True)
class AbstopkConfig(LinearConfig):
    """An AbsTopK SAE fires at most `k` features per position, up or down."""

    k: int = field(kw_only=True)
    """Features kept per position."""

    architecture: ClassVar[str] = "abstopk"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k, self.n_features)


class AbstopkAutoencoder(LinearAutoencoder):
    """Codes are signed. Of equal magnitudes those of the lowest index are kept."""

    config: AbstopkConfig

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection:
        z = self.pre_activations(x)
        indices = largest(z.abs(), self.config.k).indices
        return Selection(indices, z.gather(1, indices))

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return scattered(self.select(x), self.config.n_features)
