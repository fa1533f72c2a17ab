"""JumpReLU with straight-through gradients for its thresholds.

    step penalty    loss = [sum (x - x_hat)^2 + l0_weight sum_j H(z_j - theta_j)] / d_in
                    (Rajamanoharan et al. 2024, "Jumping ahead")
    tanh penalty    loss = [sum (x - x_hat)^2 + l0_weight sum_j tanh(c |f_j| ||atom j||)] / d_in
                    (Anthropic, "Circuits updates", January 2025)

(means over the batch). f_j = z_j H(z_j - theta_j) has no useful gradient in theta_j; its place is taken by that of a
smoothed step, with the box r = 1 where |z_j - theta_j| < bandwidth / 2, else 0:

    d f_j / d theta_j = -theta_j / bandwidth r      d H / d theta_j = -1 / bandwidth r

With the tanh penalty z_j gets the opposite of the first as well. Thresholds stay at 0 or above.

Dead features: with `revival` pre_activation, pre_activation_weight sum_j max(theta_j - z_j, 0) ||atom j|| over dead
features j joins the loss's bracket.

Runs shorter than 3,000 steps learn faster than those of other architectures and do not resample: thresholds move by
about the rate per step, nothing else makes the code sparse, and the penalty drives resampled features out again before
they have found their place. (MNIST, 512 features, 1,500 steps, target L0 32: 2.7 % dead with resampling, 1.2 % with no
revival, none with pre_activation, at one FVU.) In longer runs resampling finds what is missing.
"""

from __future__ import annotations

from typing import Any, Never

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from saescope.autoencoders.jumprelu import JumpreluSettings
from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder, JumpreluConfig
from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import LinearObjective, exceeded_at_rate, make_atoms_unit
from saescope.autoencoders.objectives.order_statistic import exceeded_by
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, warmed

STRETCH = 1.25
"""Most by which a target L0 changes thresholds after training."""
BLOCK_VALUES = 2**24
"""Pre-activations looked at at a time."""


class JumpreluObjective(LinearObjective[JumpreluAutoencoder, JumpreluSettings[Never]]):
    """See the module."""

    l0_extrapolation = 0.1

    def new_model(self, d_in: int) -> JumpreluAutoencoder:
        return JumpreluAutoencoder(JumpreluConfig(**self.fields(d_in)))

    def initialise(self, model: JumpreluAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        super().initialise(model, sample, seed)
        with torch.no_grad():
            model.threshold.fill_(self.own.initial_threshold)

    def bias_parameters(self, model: JumpreluAutoencoder) -> list[Tensor]:
        return [model.b_enc, model.threshold]

    def restart(
        self,
        model: JumpreluAutoencoder,
        features: Int64[Tensor, " dead"],
        inputs: Float[Tensor, "row d_in"],
        rate: float,
    ) -> list[Tensor]:
        """Thresholds as at first; with a target L0, such that each feature fires as often as the living ones do.

        Thresholds need hundreds of steps to rise from their first value.
        """
        model.threshold[features] = self.own.initial_threshold
        if self.run.target_l0 is not None:
            z = functional.linear(model.centred(inputs), model.encoder_rows[features], model.b_enc[features])
            model.threshold[features] = exceeded_at_rate(z, rate).clamp(min=self.own.initial_threshold)
        return [model.threshold]

    def after_step(self, model: JumpreluAutoencoder, loss: StepLoss) -> None:
        with torch.no_grad():
            model.threshold.clamp_(min=0)

    def finish(self, model: JumpreluAutoencoder, sample: Float[Tensor, "batch d_in"]) -> None:
        """Moves the atoms' norms into encoder and thresholds.

        With a target L0, also stretches all thresholds by one factor, so that the sample's L0 is the target. They lag
        behind the weight that drives them, most of all while the rate falls. The factor stays near 1: the decoder was
        fitted to the codes that there were.
        """
        make_atoms_unit(model, model.threshold)
        if self.run.target_l0 is not None:
            with torch.no_grad():
                factor = firing_ratio(model, sample, self.run.target_l0)
                model.threshold.mul_(min(STRETCH, max(1 / STRETCH, factor)))

    def loss(self, model: JumpreluAutoencoder, inputs: StepInputs) -> StepLoss:
        c, x, n_batch = self.own, inputs.x, inputs.x.shape[0]
        z = model.pre_activations(x)
        near = z.detach() > model.threshold.detach() - c.bandwidth / 2
        if sparse_codes.pays(lambda: float(near.sum()) / near.numel(), z):
            entries = sparse_codes.entries_of_mask(near)
            at = sparse_codes.pre_activations_at(entries, z.detach(), model.centred(x), model.encoder_rows, model.b_enc)
            theta = sparse_codes.at_features(entries, model.threshold)
            values = _Jump.apply(at, theta, c.bandwidth, c.l0_penalty == "tanh")
            decoded = sparse_codes.decode(entries, values, model.W_dec) + model.b_dec
            fires = at.detach() > theta.detach()
            firing = torch.bincount(entries.features, weights=fires.float(), minlength=z.shape[1])
            norms = sparse_codes.at_features(entries, self._norms(model))
        else:
            at, theta, norms = z, model.threshold.expand_as(z), self._norms(model)
            values = _Jump.apply(z, theta, c.bandwidth, c.l0_penalty == "tanh")
            decoded = model.decode(values)
            firing = (z.detach() > theta.detach()).sum(0)
        if c.l0_penalty == "tanh":
            penalty = torch.tanh(c.tanh_scale * values * norms).sum() / n_batch
        else:
            penalty = _Step.apply(at, theta, c.bandwidth).sum() / n_batch
        squared = (inputs.target - model.restore(x, decoded)).square().sum() / n_batch
        bracket = squared + inputs.sparsity * warmed(self.own.l1_warmup, self.run.steps, inputs.step) * penalty
        terms = {"penalty": penalty.detach()}
        if c.revival == "pre_activation":
            pull = self._pull(model, inputs)
            bracket = bracket + c.pre_activation_weight * pull
            terms["pre_activation"] = pull.detach()
        return StepLoss(bracket / model.d_out, squared.detach(), firing.long(), terms)

    def _norms(self, model: JumpreluAutoencoder) -> Float[Tensor, " n_features"]:
        return torch.linalg.vector_norm(model.W_dec, dim=1)

    def _pull(self, model: JumpreluAutoencoder, inputs: StepInputs) -> Float[Tensor, ""]:
        """sum over dead features of how far their pre-activations stay below their thresholds, times their norms."""
        dead = torch.nonzero(inputs.silent >= self.run.dead_after).squeeze(1)
        z = functional.linear(model.centred(inputs.x), model.encoder_rows[dead], model.b_enc[dead])
        short = torch.relu(model.threshold[dead] - z) * self._norms(model)[dead]
        return short.sum() / inputs.x.shape[0]


def firing_ratio(model: JumpreluAutoencoder, sample: Float[Tensor, "batch d_in"], l0: float) -> float:
    """The c for which `l0` pre-activations per position of the sample exceed c times their thresholds, on average.

    0 where fewer are positive. What has a threshold of 0 fires whatever c is, if it is positive.
    """
    blocks = (
        torch.nan_to_num(model.pre_activations(rows) / model.threshold, nan=0.0)
        for rows in sample.split(max(1, BLOCK_VALUES // model.n_features))
    )
    return exceeded_by(blocks, round(l0 * len(sample)))


class _Jump(torch.autograd.Function):
    """z where z > theta, else 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, theta: Tensor, bandwidth: float, through: bool) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.bandwidth, ctx.through = bandwidth, through
        return torch.where(z > theta, z, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, theta = ctx.saved_tensors
        box = torch.where((z - theta).abs() < ctx.bandwidth / 2, grad, 0.0) * (theta / ctx.bandwidth)
        grad_z = torch.where(z > theta, grad, 0.0)
        return grad_z + box if ctx.through else grad_z, -box, None, None


class _Step(torch.autograd.Function):
    """1 where z > theta, else 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, theta)
        ctx.bandwidth = bandwidth
        return (z > theta).to(z.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, theta = ctx.saved_tensors
        return None, torch.where((z - theta).abs() < ctx.bandwidth / 2, grad, 0.0) / -ctx.bandwidth, None
