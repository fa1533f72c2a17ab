"""ReLU with an L1 penalty (Bricken et al. 2023; with norm weighting Conerly et al. 2024), p-annealed if asked for.

    sum form    loss = [sum (x - x_hat)^2 + l1 sum_j w_j |f_j|] / d_in       (means over the batch)
    mean form   loss = mean (x - x_hat)^2 + l1 mean |f|                      (over batch and dimensions)

w_j is the norm of atom j, or 1. The division by d_in changes no minimum: it makes the scale of the loss, and so of its
gradient, the same whatever the width.

With p-annealing (Karvonen et al. 2024, "Measuring progress in dictionary learning") a_j = w_j |f_j| becomes
(a_j + P_FLOOR)^p - P_FLOOR^p with p falling from 1 to `p_end`. In each batch the penalty is rescaled to the value
that it would have for p = 1, so that only its shape changes: small activations are pressed harder than large ones.

In the last `refit` fraction of the steps the encoder rests and the decoder is fitted to the codes without penalty, free
in norm. That undoes the shrinkage that an L1 penalty causes (Wright & Sharkey 2024); the features that fire stay the
same ones. At the end the norms move into the encoder, so that atoms are unit.

`recipe` gives published settings instead of ours; a setting that is given still wins.
"""

from __future__ import annotations

from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import LinearObjective, l1_weights, make_atoms_unit
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, warmed
from saescope.autoencoders.relu import ReluSettings
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig

P_FLOOR = 0.01
"""Keeps the penalty's slope finite where a_j is near 0, in the space of training."""


class ReluObjective(LinearObjective[ReluAutoencoder, ReluSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> ReluAutoencoder:
        return ReluAutoencoder(ReluConfig(**self.fields(d_in)))

    def loss(self, model: ReluAutoencoder, inputs: StepInputs) -> StepLoss:
        c, x = self.own, inputs.x
        refitting = self.refitting(inputs.step)
        with torch.set_grad_enabled(not refitting):
            z = model.pre_activations(x)
        mask = z.detach() > 0
        n_batch = x.shape[0]
        firing = mask.sum(0)
        if sparse_codes.pays(lambda: float(firing.sum()) / mask.numel(), z):
            entries = sparse_codes.entries_of_mask(mask)
            values = (
                z.detach()[entries.rows, entries.features]
                if refitting
                else sparse_codes.pre_activations_at(
                    entries, z.detach(), model.centred(x), model.encoder_rows, model.b_enc
                )
            )
            x_hat = model.restore(x, sparse_codes.decode(entries, values, model.W_dec) + model.b_dec)
            weights = l1_weights(model, self.own)
            weighted = values if weights is None else values * sparse_codes.at_features(entries, weights)
        else:
            codes = torch.relu(z)
            x_hat = model.reconstruct(x, codes)
            weights = l1_weights(model, self.own)
            weighted = codes if weights is None else codes * weights
        squared = (inputs.target - x_hat).square().sum() / n_batch
        penalty = self._p_annealed(weighted, inputs.step).sum() / n_batch
        strength = 0.0 if refitting else inputs.sparsity * warmed(c.l1_warmup, self.run.steps, inputs.step)
        if c.l1_reduction == "mean":
            total = squared / model.d_out + strength * penalty / self.run.n_features
        else:
            total = (squared + strength * penalty) / model.d_out
        return StepLoss(total, squared.detach(), firing, {"l1": penalty.detach()})

    @property
    def anneals(self) -> bool:
        return self.own.p_end < 1

    @property
    def refit(self) -> float:
        return self.own.refit

    def finish(self, model: ReluAutoencoder, sample: Float[Tensor, "batch d_in"]) -> None:
        """Moves the atoms' norms into the encoder."""
        make_atoms_unit(model)

    def _p_annealed(self, values: Tensor, step: int) -> Tensor:
        """Weighted activations (all positive or 0) as the penalty adds them up."""
        c = self.own
        begin, end = c.p_from * self.run.steps, self.run.steps * (1 - c.refit)
        if c.p_end == 1 or step <= begin:
            return values
        p = 1 + (c.p_end - 1) * min(1.0, (step - begin) / max(1.0, end - begin))
        powers = (values + P_FLOOR) ** p - P_FLOOR**p
        before, after = (self.processes.mean(v.detach().sum()) for v in (values, powers))
        return powers * (before / after.clamp(min=1e-12))
