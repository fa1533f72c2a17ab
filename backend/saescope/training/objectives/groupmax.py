"""GroupMax: the features stand in k groups; the largest pre-activation of each is kept. See `auxk` for the loss."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.groupmax import GroupmaxAutoencoder, GroupmaxConfig, largest_of_groups
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Selection
from saescope.store.errors import UserError
from saescope.training.config import TrainingConfig
from saescope.training.objectives.auxk import AuxkObjective
from saescope.training.objectives.registry import register


@register("groupmax")
class GroupmaxObjective(AuxkObjective):
    """At most one feature of a group fires, dead or alive: its neighbours in the group must leave room."""

    @classmethod
    def check(cls, config: TrainingConfig) -> None:
        super().check(config)
        k = config.k or int(config.target_l0 or 1)
        if config.n_features % k:
            raise UserError(
                f"{config.n_features} features do not divide into {k} groups of one size",
                "choose n_features as a multiple of k",
            )

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return GroupmaxAutoencoder(GroupmaxConfig(**self.fields(d_in), k=self.k))

    def choose(self, model: LinearAutoencoder, z: Float[Tensor, "batch n_features"]) -> Selection:
        return largest_of_groups(z, self.k)
