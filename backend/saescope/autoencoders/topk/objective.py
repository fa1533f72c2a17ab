"""TopK (Gao et al. 2024, "Scaling and evaluating sparse autoencoders"): see `auxk` for the loss."""

from __future__ import annotations

from typing import Never

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.largest_entries import any_largest
from saescope.autoencoders.objectives.auxk import AuxkObjective
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.settings.linear import AuxkSettings
from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig


class TopkObjective(AuxkObjective[TopkAutoencoder, AuxkSettings[Never]]):
    """Keeps the k largest pre-activations of each position."""

    def new_model(self, d_in: int) -> TopkAutoencoder:
        return TopkAutoencoder(TopkConfig(**self.fields(d_in), k=self.k))

    def choose(self, model: TopkAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return any_largest(z, self.k)  # any choice among equal ones trains as well
