"""The encoder's Jacobian J = df/dx is penalised (Rifai et al. 2011, "Contractive auto-encoders").

    loss = [reconstruction + contraction ||J||_F^2] / d_out        (means over the batch)

The reconstruction is what `DenseObjective.rebuilding` says. Without hidden layers in the encoder the norm is exact,

    ||J||_F^2 = sum_j (f_j (1 - f_j))^2 sum_i W_ij^2

With hidden layers it is Hutchinson's estimate (1990), ||J^T v||^2 with one v of random signs for each position. Its
mean is ||J||_F^2, its variance 2 sum_{j != k} ((J J^T)_jk)^2, divided by the batch's size for the mean over a batch.
Signs follow from the run's seed and the step.

A code could shrink and the decoder make up for it, which would evade the penalty; Rifai et al. tie the weights against
that. Here each unit's row of the decoder's first layer keeps its first norm, one at which codes of spread SPREAD have
the data's, and every later layer its first Frobenius norm.
"""

from __future__ import annotations

from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.contractive import ContractiveSettings
from saescope.autoencoders.contractive.module import ContractiveAutoencoder, ContractiveConfig
from saescope.autoencoders.layered import Regularisation
from saescope.autoencoders.objectives.layered import (
    DenseObjective,
    begin_norms,
    decoder_of,
    keep_norms,
    remember_norms,
    spread_of,
)
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, step_generator

SPREAD = 0.2
"""About the standard deviation of a sigmoid's values where those of z have 1."""


class ContractiveObjective(DenseObjective[ContractiveAutoencoder, ContractiveSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> ContractiveAutoencoder:
        model = ContractiveAutoencoder(ContractiveConfig(**self.fields(d_in)))
        remember_norms(model)
        return model

    def initialise(self, model: ContractiveAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        super().initialise(model, sample, seed)
        first = decoder_of(model)[0]
        with torch.no_grad():
            begin_norms(model, (spread_of(model, sample) / model.n_features) ** 0.5 / SPREAD)
            first.bias.sub_(first.rows.sum(1) / 2)  # of codes of one half

    def loss(self, model: ContractiveAutoencoder, inputs: StepInputs) -> StepLoss:
        x = inputs.x
        generator = step_generator(self.run, inputs.step, x.device, self.processes.rank)
        regularisation = Regularisation(self.own.dropout, generator)
        if model.config.encoder_widths:
            x = x.detach().requires_grad_()
            codes = torch.sigmoid(model.pre_activations(x, regularisation))
            signs = torch.empty_like(codes).bernoulli_(0.5, generator=generator) * 2 - 1
            [along] = torch.autograd.grad((codes * signs).sum(), x, create_graph=True)
            contraction = along[:, : model.d_in].square().sum() / len(x)
        else:
            z = model.pre_activations(x)
            codes = torch.sigmoid(z)
            lengths = model.code_layer.rows[:, : model.d_in].square().sum(1)
            contraction = (model.code_slopes(z).square() @ lengths).sum() / len(x)
        rebuilt, squared = self.rebuilding(model.outputs(codes, regularisation), inputs.target)
        total = (rebuilt + self.own.contraction * contraction) / model.d_out
        firing = (codes.detach() > model.config.firing_threshold).sum(0)
        return StepLoss(total, squared, firing, {"contraction": contraction.detach()})

    def after_step(self, model: ContractiveAutoencoder, loss: StepLoss) -> None:
        """Keeps the decoder's norms."""
        keep_norms(model)
