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

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.relu import ReluAutoencoder, ReluConfig
from saescope.store.errors import UserError
from saescope.training import sparse
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.defaults import with_norms_for_l1, with_shared_defaults
from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss, make_atoms_unit
from saescope.training.objectives.registry import register
from saescope.training.schedule import warmed

P_FLOOR = 0.01
"""Keeps the penalty's slope finite where a_j is near 0, in the space of training."""

RECIPES: dict[str, dict[str, Any]] = {
    "2023": {
        "apply_b_dec_to_input": True,
        "first_b_dec": "geometric_median",
        "l1_weighting": "none",
        "decoder_norm": "unit",
        "lr": 1e-3,
        "bias_rate": 1.0,
        "lr_warmup": 0.0,
        "lr_decay": 0.0,
        "l1_warmup": 0.0,
        "refit": 0.0,
        "revival": "resample",
        "grad_clip": 0.0,
    },
    "april2024": {
        "apply_b_dec_to_input": False,
        "l1_weighting": "decoder_norm",
        "decoder_norm": "free",
        "first_norm": 0.1,
        "lr": 5e-5,
        "bias_rate": 1.0,
        "lr_warmup": 0.0,
        "lr_decay": 0.2,
        "l1_warmup": 0.05,
        "refit": 0.0,
        "revival": "none",
        "grad_clip": 1.0,
    },
}
"""What each published recipe sets. Inputs are centred too, in the space of training."""


@register("relu")
class ReluObjective(Objective):
    """See the module."""

    sparsity = "l1"
    own_settings = frozenset(
        (
            "l1_reduction",
            "l1_weighting",
            "l1_warmup",
            "refit",
            "p_end",
            "p_from",
            "recipe",
        )
    )

    @classmethod
    def check(cls, config: TrainingConfig) -> None:
        if config.l1_reduction == "mean" and config.input_transform not in (None, "none"):
            raise UserError(
                f"--l1-reduction mean takes raw inputs, but the input transform is {config.input_transform!r}",
                "use the summed form with whitening",
            )
        if config.recipe is not None and config.l1_reduction == "mean":
            raise UserError(f"the recipe {config.recipe} sums its terms; --l1-reduction mean is another one")

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        if config.recipe is not None:
            config = preset(config)
        if config.l1_reduction == "mean":
            config = config.filled(
                input_transform="none",
                l1_weighting="none",
                decoder_norm="free",
                l1_warmup=0.0,
                refit=0.0,
                revival="none",
                lr=1e-3,
                bias_rate=1.0,
                lr_warmup=0.0,
                lr_decay=0.0,
                grad_clip=0.0,
            )
        own = config.filled(
            revival="resample",
            l1_warmup=0.0 if config.target_l0 else 0.3,
            refit=0.0 if config.tied else 0.1,
        )
        return with_shared_defaults(with_norms_for_l1(own), size)

    def new_model(self, d_in: int) -> LinearAutoencoder:
        return ReluAutoencoder(ReluConfig(**self.fields(d_in)))

    def loss(self, model: LinearAutoencoder, inputs: StepInputs) -> StepLoss:
        c, x = self.config, inputs.x
        refitting = self.refitting(inputs.step)
        with torch.set_grad_enabled(not refitting):
            z = model.pre_activations(x)
        mask = z.detach() > 0
        n_batch = x.shape[0]
        firing = mask.sum(0)
        if sparse.pays(float(firing.sum()) / mask.numel(), x.device):
            entries = sparse.entries_of_mask(mask)
            values = (
                z.detach()[entries.rows, entries.features]
                if refitting
                else sparse.pre_activations_at(entries, z.detach(), model.centred(x), model.encoder_rows, model.b_enc)
            )
            x_hat = model.restore(x, sparse.decode(entries, values, model.W_dec) + model.b_dec)
            weights = self.l1_weights(model)
            weighted = values if weights is None else values * sparse.at_features(entries, weights)
        else:
            codes = torch.relu(z)
            x_hat = model.reconstruct(x, codes)
            weights = self.l1_weights(model)
            weighted = codes if weights is None else codes * weights
        squared = (inputs.target - x_hat).square().sum() / n_batch
        penalty = self._bent(weighted, inputs.step).sum() / n_batch
        strength = 0.0 if refitting else inputs.sparsity * warmed(c, inputs.step)
        if c.l1_reduction == "mean":
            total = squared / model.d_out + strength * penalty / c.n_features
        else:
            total = (squared + strength * penalty) / model.d_out
        return StepLoss(total, squared.detach(), firing, {"l1": penalty.detach()})

    def refitting(self, step: int) -> bool:
        """Whether a step belongs to the last phase."""
        c = self.config
        return step >= round(c.steps * (1 - c.refit))

    def finish(self, model: LinearAutoencoder, sample: Float[Tensor, "batch d_in"]) -> None:
        """Moves the atoms' norms into the encoder."""
        make_atoms_unit(model)

    def _bent(self, values: Tensor, step: int) -> Tensor:
        """Weighted activations (all positive or 0) as the penalty adds them up."""
        c = self.config
        begin, end = c.p_from * c.steps, c.steps * (1 - c.refit)
        if c.p_end == 1 or step <= begin:
            return values
        p = 1 + (c.p_end - 1) * min(1.0, (step - begin) / max(1.0, end - begin))
        powers = (values + P_FLOOR) ** p - P_FLOOR**p
        before, after = (self.processes.mean(v.detach().sum()) for v in (values, powers))
        return powers * (before / after.clamp(min=1e-12))


def preset(config: TrainingConfig) -> TrainingConfig:
    """`config` with what its recipe sets, where `config` leaves it open or at what is no choice."""
    assert config.recipe is not None
    settings = dict(RECIPES[config.recipe])
    plain = TrainingConfig(config.architecture, config.n_features, l1=1.0)
    chosen = {name for name in settings if getattr(config, name) not in (None, getattr(plain, name))}
    return dataclasses.replace(config, **{name: v for name, v in settings.items() if name not in chosen})
