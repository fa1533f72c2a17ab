"""What the architectures that keep the largest pre-activations share: AuxK (Gao et al. 2024, sections 2.3 and 2.4).

    loss = mean over x_hat of ||x - x_hat||^2 / V + aux_weight ||e - e_hat||^2 / E        (means over the batch)

Most architectures have one reconstruction x_hat. V is the variance of the data, e = x - x_hat of the whole code (no
gradient), e_hat = sum over the aux_k largest codes of dead features of their atoms (no bias), and E = mean
||e - mean(e)||^2. So both terms are fractions of variance unexplained. With fewer dead features than aux_k the second
is scaled down in proportion.

The second term is there where `revival` is `auxk` or `both`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Never, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import LinearModel, LinearObjective
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss
from saescope.autoencoders.protocol import Selection
from saescope.autoencoders.settings.linear import AuxkSettings

AuxkOwn = TypeVar("AuxkOwn", bound=AuxkSettings[Never])


class AuxkObjective(LinearObjective[LinearModel, AuxkOwn]):
    """See the module. A subclass says which places of the code are kept."""

    resampled_at_once = 0.03

    @property
    def k(self) -> int:
        """Places kept per position."""
        assert self.own.k is not None
        return self.own.k

    @abstractmethod
    def choose(
        self, model: LinearModel, z: Float[Tensor, "batch n_features"]
    ) -> Selection | Bool[Tensor, "batch n_features"]:
        """The places of the code that are kept, of pre-activations without gradient. Values are not looked at."""

    def activation(self, z: Tensor) -> Tensor:
        """Codes of kept pre-activations."""
        return torch.relu(z)

    def decoded(
        self, model: LinearModel, entries: sparse_codes.Entries, values: Float[Tensor, " entry"], n_rows: int
    ) -> list[Float[Tensor, "batch d_in"]]:
        """What a sparse code decodes to, that of all features last."""
        return [sparse_codes.decode(entries, values, model.W_dec) + model.b_dec]

    def decoded_dense(
        self, model: LinearModel, codes: Float[Tensor, "batch n_features"]
    ) -> list[Float[Tensor, "batch d_in"]]:
        """`decoded` of a dense code."""
        return [model.decode(codes)]

    def terms(self, values: Tensor) -> dict[str, Tensor]:
        """Further terms for the curve, of the code's values."""
        return {}

    def loss(self, model: LinearModel, inputs: StepInputs) -> StepLoss:
        n, x = self.run.n_features, inputs.x
        z = model.pre_activations(x)
        chosen = self.choose(model, z.detach())
        if sparse_codes.pays(lambda: self.k / n, z):
            if isinstance(chosen, Selection):
                entries = sparse_codes.entries_of_selection(chosen, n)
            else:
                entries = sparse_codes.entries_of_mask(chosen)
            values = self.activation(
                sparse_codes.pre_activations_at(entries, z.detach(), model.centred(x), model.encoder_rows, model.b_enc)
            )
            x_hats = self.decoded(model, entries, values, x.shape[0])
            firing = torch.bincount(entries.features, weights=(values.detach() != 0).float(), minlength=n)
        else:
            if isinstance(chosen, Selection):
                chosen = torch.zeros_like(z, dtype=torch.bool).scatter_(1, chosen.indices, True)
            values = self.activation(torch.where(chosen, z, 0.0))
            x_hats = self.decoded_dense(model, values)
            firing = (values.detach() != 0).sum(0)
        missed = [inputs.target - model.restore(x, x_hat) for x_hat in x_hats]
        errors = [error.square().sum() / x.shape[0] for error in missed]
        total = torch.stack(errors).mean() / inputs.variance
        terms = self.terms(values.detach())
        if self.own.revival in ("auxk", "both"):
            auxiliary = self._auxiliary(model, inputs, missed[-1].detach())
            if auxiliary is not None:
                terms["auxiliary"] = auxiliary.detach()
                total = total + self.own.aux_weight * auxiliary
        return StepLoss(total, errors[-1].detach(), firing.long(), terms)

    @property
    def resampled_norm(self) -> float:
        """The mean norm: with less, a feature would not be among the few that are kept."""
        return 1.0

    def _auxiliary(self, model: LinearModel, inputs: StepInputs, error: Float[Tensor, "batch d_in"]) -> Tensor | None:
        c = self.own
        dead = torch.nonzero(inputs.silent >= self.run.dead_after).squeeze(1)
        if len(dead) == 0:
            return None
        z = functional.linear(model.centred(inputs.x), model.encoder_rows[dead], model.b_enc[dead])
        codes = self.activation(z)
        if len(dead) > c.aux_k:
            places = torch.topk(codes.detach().abs(), c.aux_k, dim=1, sorted=False).indices
            codes = torch.zeros_like(codes).scatter(1, places, codes.gather(1, places))
        missed = (error - codes @ model.W_dec[dead]).square().sum(1).mean()
        scale = min(len(dead) / c.aux_k, 1.0)
        centred = error - self.processes.mean(error.mean(0))
        return scale * missed / self.processes.mean(centred.square().sum(1).mean()).clamp(min=1e-12)
