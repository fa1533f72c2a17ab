"""An undercomplete autoencoder rebuilds its input, and that is all: loss = reconstruction / d_out, a mean over the
batch of what `DenseObjective.rebuilding` says."""

from __future__ import annotations

from typing import Never

from saescope.autoencoders.objectives.layered import DenseObjective
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss
from saescope.autoencoders.undercomplete import UndercompleteSettings
from saescope.autoencoders.undercomplete.module import UndercompleteAutoencoder, UndercompleteConfig


class UndercompleteObjective(DenseObjective[UndercompleteAutoencoder, UndercompleteSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> UndercompleteAutoencoder:
        return self.with_batch_norm(UndercompleteAutoencoder(UndercompleteConfig(**self.fields(d_in))))

    def loss(self, model: UndercompleteAutoencoder, inputs: StepInputs) -> StepLoss:
        regularisation = self.regularisation(inputs)
        codes = model.pre_activations(inputs.x, regularisation)
        rebuilt, squared = self.rebuilding(model.outputs(codes, regularisation), inputs.target)
        return StepLoss(rebuilt / model.d_out, squared, (codes.detach() != 0).sum(0))
