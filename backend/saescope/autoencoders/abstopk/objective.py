"""AbsTopK: the k pre-activations of largest magnitude are kept, sign and all. See `auxk` for the loss."""

from __future__ import annotations

from typing import Never

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.abstopk.module import AbstopkAutoencoder, AbstopkConfig
from saescope.autoencoders.largest_entries import any_largest
from saescope.autoencoders.objectives.auxk import AuxkObjective
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.settings.linear import AuxkSettings


class AbstopkObjective(AuxkObjective[AbstopkAutoencoder, AuxkSettings[Never]]):
    """Dead features rebuild the error with signs of their own too."""

    def new_model(self, d_in: int) -> AbstopkAutoencoder:
        return AbstopkAutoencoder(AbstopkConfig(**self.fields(d_in), k=self.k))

    def activation(self, z: Tensor) -> Tensor:
        return z

    def choose(self, model: AbstopkAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return any_largest(z.abs(), self.k)  # any choice among equal ones trains as well
