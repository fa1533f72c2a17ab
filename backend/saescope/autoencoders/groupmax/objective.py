"""GroupMax: the features stand in k groups; the largest pre-activation of each is kept. See `auxk` for the loss."""

from __future__ import annotations

from typing import Never

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.groupmax import GroupmaxSettings
from saescope.autoencoders.groupmax.module import GroupmaxAutoencoder, GroupmaxConfig, largest_of_groups
from saescope.autoencoders.objectives.auxk import AuxkObjective
from saescope.autoencoders.protocol import Selection


class GroupmaxObjective(AuxkObjective[GroupmaxAutoencoder, GroupmaxSettings[Never]]):
    """At most one feature of a group fires, dead or alive: its neighbours in the group must leave room."""

    def new_model(self, d_in: int) -> GroupmaxAutoencoder:
        return GroupmaxAutoencoder(GroupmaxConfig(**self.fields(d_in), k=self.k))

    def choose(self, model: GroupmaxAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return largest_of_groups(z, self.k)
