"""TopK with AuxK (Gao et al. 2024, "Scaling and evaluating sparse autoencoders", sections 2.3 and 2.4).

    loss = ||x - x_hat||^2 / V + aux_weight ||e - e_hat||^2 / E        (means over the batch)

V is the variance of the data, e = x - x_hat (no gradient), e_hat = sum over the aux_k largest pre-activations of dead
features, ReLU applied, of their atoms (no bias), and E = mean ||e - mean(e)||^2. So both terms are fractions of
variance unexplained. With fewer dead features than aux_k the second is scaled down in proportion.

The second term is there where `revival` is `auxk` or `both`. For k below AUXK_FROM few dead features ever get among the
k largest through it alone, so they are resampled as well by default; above, resampled features crowd out others and
cost reconstruction.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.topk import TopkAutoencoder, TopkConfig
from saescope.training import sparse
from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.defaults import with_shared_defaults
from saescope.training.objectives.protocol import DataSize, Objective, StepInputs, StepLoss
from saescope.training.objectives.registry import register

AUXK_FROM = 8
"""Smallest k that is trained with AuxK alone by default."""


@register("topk")
class TopkObjective(Objective):
    """See the module."""

    resampled_at_once = 0.03

    @classmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        assert config.k is not None
        own = config.filled(revival="both" if config.k < AUXK_FROM else "auxk", aux_weight=0.1, aux_k=64)
        return with_shared_defaults(own, size)

    def new_model(self, d_in: int) -> LinearAutoencoder:
        assert self.config.k is not None
        return TopkAutoencoder(TopkConfig(**self.fields(d_in), k=self.config.k))

    def loss(self, model: LinearAutoencoder, inputs: StepInputs) -> StepLoss:
        k, n = self.config.k, self.config.n_features
        assert k is not None
        x = inputs.x
        z = model.pre_activations(x)
        # Any choice among equal values trains as well, so `largest` and its order of ties is not needed.
        chosen = Selection(*reversed(torch.topk(z.detach(), k, dim=1, sorted=False)))
        if sparse.pays(k / n, x.device):
            entries = sparse.entries_of_selection(chosen, n)
            values = torch.relu(
                sparse.pre_activations_at(entries, z.detach(), model.centred(x), model.encoder_rows, model.b_enc)
            )
            x_hat = model.restore(x, sparse.decode(entries, values, model.W_dec) + model.b_dec)
            firing = torch.bincount(entries.features, weights=(values.detach() > 0).float(), minlength=n)
        else:
            kept = torch.relu(z.gather(1, chosen.indices))
            codes = torch.zeros_like(z).scatter(1, chosen.indices, kept)
            x_hat = model.reconstruct(x, codes)
            firing = (codes.detach() > 0).sum(0)
        error = inputs.target - x_hat
        squared = error.square().sum() / x.shape[0]
        total = squared / inputs.variance
        terms: dict[str, Tensor] = {}
        if self.config.revival in ("auxk", "both"):
            auxiliary = self._auxiliary(model, inputs, error.detach())
            if auxiliary is not None:
                terms["auxiliary"] = auxiliary.detach()
                total = total + self.config.aux_weight * auxiliary
        return StepLoss(total, squared.detach(), firing.long(), terms)

    @property
    def resampled_norm(self) -> float:
        """The mean norm: with less, a feature would not be among the few that are kept."""
        return 1.0

    def _auxiliary(
        self, model: LinearAutoencoder, inputs: StepInputs, error: Float[Tensor, "batch d_in"]
    ) -> Tensor | None:
        c = self.config
        dead = torch.nonzero(inputs.silent >= c.dead_after).squeeze(1)
        if len(dead) == 0:
            return None
        codes = torch.relu(functional.linear(model.centred(inputs.x), model.encoder_rows[dead], model.b_enc[dead]))
        if len(dead) > c.aux_k:
            kept, places = torch.topk(codes, c.aux_k, dim=1, sorted=False)
            codes = torch.zeros_like(codes).scatter(1, places, kept)
        missed = (error - codes @ model.W_dec[dead]).square().sum()
        scale = min(len(dead) / c.aux_k, 1.0)
        return scale * missed / (error - error.mean(0)).square().sum().clamp(min=1e-12)
