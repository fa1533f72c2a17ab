"""Sigmoid codes with a target rate (Ng, CS294A lecture notes "Sparse autoencoder", 2011).

    loss = [sum (x - x_hat)^2 / 2 + kl_weight sum_j KL(rho || r_j)] / d_in + weight_decay / 2 sum of squared weights

(the first term as a mean over the batch), with r_j the mean of f_j over the batch and
KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r)). Rates keep RATE_FLOOR away from 0 and 1.

Towards a target L0 rho starts at target / n_features, which codes of 0 and 1 would have. Under a rho of a quarter
of that, features meet it by one small activation at all positions and never fire (MNIST, 512 features, target 8: 69 %
dead). So rho falls no further than to LEAST_RHO of where it began, and what the rule wants beyond multiplies kl_weight.
"""

from __future__ import annotations

import math
from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.kl import KlSettings
from saescope.autoencoders.kl.module import KlAutoencoder, KlConfig
from saescope.autoencoders.objectives.linear import LinearObjective
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss

RATE_FLOOR = 1e-6
LEAST_RHO = 0.4
"""Least rho under a target L0, over the first one."""


class KlObjective(LinearObjective[KlAutoencoder, KlSettings[Never]]):
    """See the module."""

    sparsity_lowers_l0 = False

    def new_model(self, d_in: int) -> KlAutoencoder:
        return KlAutoencoder(KlConfig(**self.fields(d_in)))

    @property
    def first_sparsity(self) -> float:
        assert self.run.target_l0 is not None
        return min(self.run.target_l0 / self.run.n_features, 0.5)

    def settings_at(self, value: float) -> dict[str, float]:
        weight = self.own.kl_weight
        if self.run.target_l0 is None:
            return {"rho": value, "kl_weight": weight}
        least = LEAST_RHO * self.first_sparsity
        return {"rho": max(value, least), "kl_weight": weight * max(1.0, least / value)}

    @property
    def resampled_bias(self) -> float:
        """The bias whose activation, at z's mean of 0, is the target rate."""
        rate = self.own.rho or self.first_sparsity
        return math.log(rate / (1 - rate))

    def initialise(self, model: KlAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        super().initialise(model, sample, seed)
        with torch.no_grad():
            model.b_enc.fill_(self.resampled_bias)

    def loss(self, model: KlAutoencoder, inputs: StepInputs) -> StepLoss:
        x, settings = inputs.x, self.settings_at(inputs.sparsity)
        codes = model.encode(x)
        squared = (inputs.target - model.reconstruct(x, codes)).square().sum() / x.shape[0]
        divergence = rate_divergence(self.processes.mean(codes.mean(0)), settings["rho"])
        total = (squared / 2 + settings["kl_weight"] * divergence) / model.d_out
        firing = (codes.detach() > model.config.firing_threshold).sum(0)
        return StepLoss(total, squared.detach(), firing, {"kl": divergence.detach()})


def rate_divergence(rates: Float[Tensor, " n_features"], rho: float) -> Float[Tensor, ""]:
    """sum_j KL(rho || rate_j)."""
    r = rates.clamp(RATE_FLOOR, 1 - RATE_FLOOR)
    return (rho * torch.log(rho / r) + (1 - rho) * torch.log((1 - rho) / (1 - r))).sum()
