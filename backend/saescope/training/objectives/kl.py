"""Sigmoid codes with a target rate (Ng, CS294A lecture notes "Sparse autoencoder", 2011).

    loss = [sum (x - x_hat)^2 / 2 + kl_weight sum_j KL(rho || r_j)] / d_in + weight_decay / 2 sum of squared weights

(the first term as a mean over the batch), with r_j the mean of f_j over the batch and
KL(rho || r) = rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r)). Rates keep RATE_FLOOR away from 0 and 1.

Towards a target L0 rho is led from target / n_features on, which codes of 0 and 1 would have. Under a rho of a quarter
of that, features meet it by one small activation at all positions and never fire (MNIST, 512 features, target 8: 69 %
dead). So rho falls no further than to LEAST_RHO of where it began, and what the rule wants beyond multiplies kl_weight.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.kl import KlAutoencoder, KlConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.defaults import with_shared_defaults
from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss
from saescope.training.objectives.registry import register

RATE_FLOOR = 1e-6
LEAST_RHO = 0.4
"""Least rho that a target L0 leads to, over the first one."""


@register("kl")
class KlObjective(Objective):
    """See the module."""

    sparsity = "rho"
    own_settings = frozenset(("kl_weight",))
    sparsity_lowers_l0 = False

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        own = config.filled(
            revival="none", decoder_norm="free", kl_weight=3.0, weight_decay=1e-4, bias_rate=math.sqrt(size.d_in)
        )
        return with_shared_defaults(own, size)

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return KlAutoencoder(KlConfig(**self.fields(d_in)))

    @property
    def first_sparsity(self) -> float:
        c = self.config
        assert c.target_l0 is not None
        return min(c.target_l0 / c.n_features, 0.5)

    def led_settings(self, value: float) -> dict[str, float]:
        weight = self.config.kl_weight
        if self.config.target_l0 is None:
            return {"rho": value, "kl_weight": weight}
        least = LEAST_RHO * self.first_sparsity
        return {"rho": max(value, least), "kl_weight": weight * max(1.0, least / value)}

    @property
    def resampled_bias(self) -> float:
        """The bias whose activation, at z's mean of 0, is the target rate."""
        rate = self.config.rho or self.first_sparsity
        return math.log(rate / (1 - rate))

    def initialise(self, model: LinearAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        super().initialise(model, sample, seed)
        with torch.no_grad():
            model.b_enc.fill_(self.resampled_bias)

    def loss(self, model: LinearAutoencoder, inputs: StepInputs) -> StepLoss:
        x, led = inputs.x, self.led_settings(inputs.sparsity)
        codes = model.encode(x)
        squared = (inputs.target - model.reconstruct(x, codes)).square().sum() / x.shape[0]
        divergence = rate_divergence(self.processes.mean(codes.mean(0)), led["rho"])
        total = (squared / 2 + led["kl_weight"] * divergence) / model.d_out
        firing = (codes.detach() > model.config.firing_threshold).sum(0)
        return StepLoss(total, squared.detach(), firing, {"kl": divergence.detach()})


def rate_divergence(rates: Float[Tensor, " n_features"], rho: float) -> Float[Tensor, ""]:
    """sum_j KL(rho || rate_j)."""
    r = rates.clamp(RATE_FLOOR, 1 - RATE_FLOOR)
    return (rho * torch.log(rho / r) + (1 - rho) * torch.log((1 - rho) / (1 - r))).sum()
