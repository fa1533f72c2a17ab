"""AbsTopK: the k pre-activations of largest magnitude are kept, sign and all. See `auxk` for the loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.abstopk import AbstopkAutoencoder, AbstopkConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Selection
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.auxk import AuxkObjective
from saescope.training.objectives.defaults import with_small_atoms
from saescope.training.objectives.protocol import DataSize
from saescope.training.objectives.registry import register


@register("abstopk")
class AbstopkObjective(AuxkObjective):
    """Dead features rebuild the error with signs of their own too.

    Atoms are free and begin small: unit ones leave half of all features dead at a low k (MNIST, 512 features, 1,500
    steps, k = 8: 46 %, where these leave none; k = 64: 4.5 % and none, FVU 0.052 and 0.042).
    """

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        return super().resolve(with_small_atoms(config), size)

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return AbstopkAutoencoder(AbstopkConfig(**self.fields(d_in), k=self.k))

    def activation(self, z: Tensor) -> Tensor:
        return z

    def choose(self, model: LinearAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return Selection(*reversed(torch.topk(z.abs(), self.k, dim=1, sorted=False)))
