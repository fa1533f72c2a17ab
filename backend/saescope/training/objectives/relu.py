"""ReLU with an L1 penalty (Bricken et al. 2023; with norm weighting Conerly et al. 2024).

    sum form    loss = [sum (x - x_hat)^2 + l1 sum_j w_j |f_j|] / d_in       (means over the batch)
    mean form   loss = mean (x - x_hat)^2 + l1 mean |f|                      (over batch and dimensions)

w_j = 1, or the norm of atom j. The division by d_in changes no minimum: it makes the scale of the loss, and so of its
gradient, the same whatever the width.

In the last `refit` fraction of the steps the encoder rests and the decoder is fitted to the codes without penalty, free
in norm. That undoes the shrinkage that an L1 penalty causes (Wright & Sharkey 2024); the features that fire stay the
same ones. At the end the norms move into the encoder, so atoms are unit again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.relu import ReluAutoencoder, ReluConfig
from saescope.training import sparse
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.defaults import with_shared_defaults
from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss
from saescope.training.objectives.registry import register


@register("relu")
class ReluObjective(Objective):
    """See the module."""

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        if config.l1_reduction == "mean":
            config = config.filled(
                input_transform="none",
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
            l1_warmup=0.3,
            refit=0.0 if config.tied else 0.1,
            decoder_norm="free" if config.l1_weighting == "decoder_norm" else "unit",
        )
        return with_shared_defaults(own, size)

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
            weights = self._weights(model)
            penalty = values.sum() if weights is None else (values * weights[entries.features]).sum()
        else:
            codes = torch.relu(z)
            x_hat = model.reconstruct(x, codes)
            weights = self._weights(model)
            penalty = codes.sum() if weights is None else (codes * weights).sum()
        squared = (inputs.target - x_hat).square().sum() / n_batch
        penalty = penalty / n_batch
        assert c.l1 is not None
        strength = 0.0 if refitting else c.l1 * self._warmed(inputs.step)
        if c.l1_reduction == "mean":
            total = squared / model.d_out + strength * penalty / c.n_features
        else:
            total = (squared + strength * penalty) / model.d_out
        return StepLoss(total, squared.detach(), firing, {"l1": penalty.detach()})

    def refitting(self, step: int) -> bool:
        """Whether a step belongs to the last phase."""
        c = self.config
        return step >= round(c.steps * (1 - c.refit))

    def finish(self, model: LinearAutoencoder) -> None:
        """Moves the norms that the refit left in the atoms into the encoder: f(c z) = c f(z) for c > 0."""
        if not self.config.refit or self.config.decoder_norm != "unit" or self.config.tied:
            return
        with torch.no_grad():
            norms = torch.linalg.vector_norm(model.W_dec, dim=1).clamp(min=1e-12)
            model.W_dec.div_(norms.unsqueeze(1))
            model.encoder_rows.mul_(norms.unsqueeze(1))
            model.b_enc.mul_(norms)

    def _weights(self, model: LinearAutoencoder) -> Tensor | None:
        return torch.linalg.vector_norm(model.W_dec, dim=1) if self.config.l1_weighting == "decoder_norm" else None

    def _warmed(self, step: int) -> float:
        c = self.config
        rising = c.l1_warmup * c.steps
        return 1.0 if step >= rising else (step + 1) / rising
