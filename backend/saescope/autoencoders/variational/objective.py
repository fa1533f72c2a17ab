"""How a variational autoencoder is trained, by the evidence lower bound (Kingma & Welling 2014):

    loss = [ -log p(x|z) + beta w sum_j max(free_bits, mean KL_j) ] / d_out        (means over the batch)

z is drawn once for each input by z = mu + sigma e. w rises linearly from 0 to 1 over the first steps (Bowman et al.
2016). beta other than 1: Higgins et al. 2017. Free bits of each unit, its mean over the batch: Kingma et al. 2016. The
variance of a Gaussian output is one number, given or learned (Rybkin et al. 2021). With `binarise` input and target are
drawn from Bernoulli(x) in every step (Burda et al. 2016).

The curve's `kl` and `log_likelihood` are in nats per position, the former without weights.
"""

from __future__ import annotations

import math
from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.layered import Regularisation
from saescope.autoencoders.objectives.layered import DenseObjective
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, step_generator, warmed
from saescope.autoencoders.variational import VariationalSettings
from saescope.autoencoders.variational.module import VariationalAutoencoder, VariationalConfig


class VariationalObjective(DenseObjective[VariationalAutoencoder, VariationalSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> VariationalAutoencoder:
        model = VariationalAutoencoder(VariationalConfig(**self.fields(d_in)))
        if self.own.output_variance is not None:
            model.log_output_variance.requires_grad_(False)  # it is given
        return self.with_batch_norm(model)

    def initialise(self, model: VariationalAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        """Every sigma begins at 1, a learned variance at that of the data."""
        super().initialise(model, sample, seed)
        with torch.no_grad():
            model.variance_layer.rows.zero_()
            if not model.config.sigmoid_output:
                x = sample[:, : model.d_in]
                of_data = 1.0 if model.config.transcoder else float((x - x.mean(0)).square().mean())
                model.log_output_variance.fill_(math.log(self.own.output_variance or of_data))

    def loss(self, model: VariationalAutoencoder, inputs: StepInputs) -> StepLoss:
        c = self.own
        generator = step_generator(self.run, inputs.step, inputs.x.device, self.processes.rank)
        regularisation = Regularisation(c.dropout, generator)
        x, target = inputs.x, inputs.target
        if c.binarise:
            x = target = torch.bernoulli(target, generator=generator)
        q = model.posterior(x, regularisation)
        outputs = model.outputs(q.draw(generator), regularisation)
        log_likelihood = model.log_likelihood(outputs, target).mean()
        divergence = q.divergence.mean(0)
        cost = divergence
        if c.free_bits:
            above = self.processes.mean(divergence.detach()) > c.free_bits
            cost = torch.where(above, divergence, c.free_bits)
        weight = c.beta * warmed(c.beta_warmup, self.run.steps, inputs.step)
        total = (weight * cost.sum() - log_likelihood) / model.d_out
        rebuilt = outputs.detach()
        rebuilt = torch.sigmoid(rebuilt) if model.config.sigmoid_output else rebuilt
        squared = (inputs.target - rebuilt).square().sum() / len(x)
        terms = {"kl": divergence.detach().sum(), "log_likelihood": log_likelihood.detach()}
        return StepLoss(total, squared, (q.mean.detach() != 0).sum(0), terms)

    def matrices(self, model: VariationalAutoencoder) -> list[Tensor]:
        return [layer.rows for layer in model.layers]
