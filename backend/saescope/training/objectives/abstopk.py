"""AbsTopK: the k pre-activations of largest magnitude are kept, sign and all. See `auxk` for the loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.abstopk import AbstopkAutoencoder, AbstopkConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Selection
from saescope.training.objectives.auxk import AuxkObjective
from saescope.training.objectives.registry import register


@register("abstopk")
class AbstopkObjective(AuxkObjective):
    """Dead features rebuild the error with signs of their own too."""

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return AbstopkAutoencoder(AbstopkConfig(**self.fields(d_in), k=self.k))

    def activation(self, z: Tensor) -> Tensor:
        return z

    def choose(self, model: LinearAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return Selection(*reversed(torch.topk(z.abs(), self.k, dim=1, sorted=False)))
