"""Deep SAEs: the k largest features are kept (`k`), or a penalty makes the code sparse, L1 (`l1`) or a KL divergence of
mean activations from a rate (`rho`).

    k     loss = ||x - x_hat||^2 / V + aux_weight A                                     (means over the batch)
    l1    loss = [sum (x - x_hat)^2 + l1 sum_j |f_j|] / d_out + aux_weight A
    rho   loss = [sum (x - x_hat)^2 / 2 + kl_weight sum_j KL(rho || r_j)] / d_out, r_j the mean of f_j = sigmoid(z_j)

V is the variance of the data, and A revives dead features:

    A = ||e - e_hat||^2 / E + PULL mean max(-z_j, 0) / rms(z),  e = x - x_hat (no gradient), E = mean ||e - mean(e)||^2

The first term is as in Gao et al. 2024, for a decoder that is not linear: e_hat = D(f + a) - D(f), with D the decoder,
f the code without gradient and a the aux_k largest max((h - mean(h)) W_j, 0) of dead features, h being what the code's
layer takes. Hidden units are positive, so a feature's z has a mean far from 0 on one side or the other: with z itself
in the place of its deviation, those below 0 at every position would have no gradient, and up to half of all features
ended so. The second term takes dead features' biases back to where they may fire. With fewer dead features than aux_k
both are scaled down in proportion.

Layers with ReLU between them could shrink codes and make up for it later, which would evade the L1 penalty. So with
`l1` each feature's row of the decoder's first layer keeps norm 1, and every later layer its first Frobenius norm. With
`rho` it keeps SIZE sqrt(V / (rho n_features)), a fraction of the norm at which codes of 0 and 1 at the rate rho have
the data's spread: features would meet rho by one small activation at all positions otherwise, and never fire.

Hidden layers begin as He et al. 2015 advise, W_ij ~ N(0, 2 / fan-in), biases 0; a feature's rows begin with norm 1, its
bias such that z is 0 on average, or with `rho` the logit of rho.
"""

from __future__ import annotations

import math
from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.deep import DeepSettings
from saescope.autoencoders.deep.module import DeepAutoencoder, DeepConfig
from saescope.autoencoders.kl.objective import rate_divergence
from saescope.autoencoders.objectives.layered import (
    LayeredObjective,
    begin_norms,
    decoder_of,
    keep_norms,
    remember_norms,
    spread_of,
)
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, warmed

PULL = 0.03
"""Weight of what pulls dead features up: with 1, features of MNIST that come back so cost the others reconstruction."""

SIZE = 0.2
"""`rho`: norm of a feature's row of the decoder, over that: with 1, of digits 86 % of the features never fire."""


class DeepObjective(LayeredObjective[DeepAutoencoder, DeepSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> DeepAutoencoder:
        rate = self.own.rho is not None
        model = DeepAutoencoder(
            DeepConfig(
                **self.fields(d_in),
                k=self.own.k or 0,
                sigmoid_code=rate,
                firing_threshold=0.5 if rate else 0.0,
            )
        )
        if rate:
            remember_norms(model)
        return model

    def initialise(self, model: DeepAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        code, first = model.code_layer, decoder_of(model)[0]
        with torch.no_grad():
            for layer in model.layers:
                layer.rows.normal_(std=(2 / layer.rows.shape[1]) ** 0.5, generator=generator)
                layer.bias.zero_()
            code.rows.div_(torch.linalg.vector_norm(code.rows, dim=1, keepdim=True))
            first.rows.div_(torch.linalg.vector_norm(first.rows, dim=0))
            code.bias.sub_(model.pre_activations(sample).mean(0))
            if self.own.rho is not None:
                code.bias.add_(math.log(self.own.rho / (1 - self.own.rho)))
                begin_norms(model, (spread_of(model, sample) / (model.n_features * self.own.rho)) ** 0.5 * SIZE)

    def loss(self, model: DeepAutoencoder, inputs: StepInputs) -> StepLoss:
        c, x = self.own, inputs.x
        h = model.hidden(x)
        z = model.code_layer(h)
        codes = model.code(z)
        if c.k is not None:
            codes = torch.zeros_like(z).scatter(1, *kept(torch.relu(z), c.k))
        error = inputs.target - model.decode(codes)
        squared = error.square().sum() / x.shape[0]
        terms: dict[str, Tensor] = {}
        if c.k is not None:
            total = squared / inputs.variance
        elif c.rho is not None:
            divergence = rate_divergence(self.processes.mean(codes.mean(0)), c.rho)
            total = (squared / 2 + c.kl_weight * divergence) / model.d_out
            terms["kl"] = divergence.detach()
        else:
            penalty = codes.sum() / x.shape[0]
            total = (
                squared + inputs.sparsity * warmed(c.l1_warmup, self.run.steps, inputs.step) * penalty
            ) / model.d_out
            terms["l1"] = penalty.detach()
        auxiliary = self._auxiliary(model, inputs, h, z, codes.detach(), error.detach())
        if auxiliary is not None:
            total = total + c.aux_weight * auxiliary
            terms["auxiliary"] = auxiliary.detach()
        firing = (codes.detach() > model.config.firing_threshold).sum(0)
        return StepLoss(total, squared.detach(), firing, terms)

    def after_step(self, model: DeepAutoencoder, loss: StepLoss) -> None:
        """Keeps the decoder's norms where codes are penalised by their size."""
        if self.own.rho is not None:
            keep_norms(model)
        if self.own.l1 is None:
            return
        first, *later = decoder_of(model)
        with torch.no_grad():
            first.rows.div_(torch.linalg.vector_norm(first.rows, dim=0).clamp(min=1e-12))
            for layer in later:  # of the first weights' norm, on average over draws
                norm = (2 * layer.rows.shape[0]) ** 0.5
                layer.rows.mul_(norm / torch.linalg.vector_norm(layer.rows).clamp(min=1e-12))

    def _auxiliary(
        self, model: DeepAutoencoder, inputs: StepInputs, h: Tensor, z: Tensor, codes: Tensor, error: Tensor
    ) -> Tensor | None:
        c = self.own
        dead = torch.nonzero(inputs.silent >= self.run.dead_after).squeeze(1)
        if c.revival != "auxk" or len(dead) == 0:
            return None
        mean = self.processes.mean(h.detach().mean(0))
        revived = torch.relu((h - mean) @ model.code_layer.rows[dead].T)
        if len(dead) > c.aux_k:
            revived = torch.zeros_like(revived).scatter(1, *kept(revived, c.aux_k))
        with torch.no_grad():
            before = model.decode(codes)
        change = model.decode(codes.index_add(1, dead, revived)) - before
        missed = (error - change).square().sum(1).mean()
        centred = error - self.processes.mean(error.mean(0))
        explained = missed / self.processes.mean(centred.square().sum(1).mean()).clamp(min=1e-12)
        size = self.processes.mean(z.detach().square().mean()).sqrt().clamp(min=1e-12)
        below = torch.relu(-z[:, dead]).mean() / size
        return min(len(dead) / c.aux_k, 1.0) * (explained + PULL * below)


def kept(values: Float[Tensor, "batch n"], k: int) -> tuple[Tensor, Tensor]:
    """Places of the k largest values of each row, and the values."""
    places = torch.topk(values.detach(), k, dim=1, sorted=False).indices
    return places, values.gather(1, places)
