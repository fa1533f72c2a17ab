"""Deep SAEs: the k largest features are kept (`k`), or an L1 penalty makes the code sparse (`l1`).

    k     loss = ||x - x_hat||^2 / V + aux_weight ||e - e_hat||^2 / E              (means over the batch)
    l1    loss = [sum (x - x_hat)^2 + l1 sum_j |f_j|] / d_out + the same auxiliary term

V is the variance of the data, e = x - x_hat (no gradient), E = mean ||e - mean(e)||^2. The auxiliary term revives dead
features (as in Gao et al. 2024, for a decoder that is not linear): e_hat = D(f + a) - D(f), with D the decoder, f the
code without gradient and a the aux_k largest pre-activations of dead features, ReLU applied. With fewer dead features
than aux_k it is scaled down in proportion.

Layers with ReLU between them could shrink codes and make up for it later, which would evade the L1 penalty. So with
`l1` each feature's row of the decoder's first layer keeps norm 1, and every later layer its first Frobenius norm.

Hidden layers begin as He et al. 2015 advise, W_ij ~ N(0, 2 / fan-in), biases 0; a feature's rows begin with norm 1.
"""

from __future__ import annotations

from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.deep import DeepSettings
from saescope.autoencoders.deep.module import DeepAutoencoder, DeepConfig
from saescope.autoencoders.objectives.layered import LayeredObjective
from saescope.autoencoders.objectives.protocol import StepInputs, StepLoss, warmed


class DeepObjective(LayeredObjective[DeepAutoencoder, DeepSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> DeepAutoencoder:
        return DeepAutoencoder(DeepConfig(**self.fields(d_in), k=self.own.k or 0))

    def initialise(self, model: DeepAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        code, first = model.code_layer, model.layers[len(model.encoder_layers)]
        with torch.no_grad():
            for layer in model.layers:
                layer.rows.normal_(std=(2 / layer.rows.shape[1]) ** 0.5, generator=generator)
                layer.bias.zero_()
            code.rows.div_(torch.linalg.vector_norm(code.rows, dim=1, keepdim=True))
            first.rows.div_(torch.linalg.vector_norm(first.rows, dim=0))

    def loss(self, model: DeepAutoencoder, inputs: StepInputs) -> StepLoss:
        c, x = self.own, inputs.x
        z = model.pre_activations(x)
        codes = torch.relu(z)
        if c.k is not None:
            codes = torch.zeros_like(z).scatter(1, *kept(codes, c.k))
        error = inputs.target - model.decode(codes)
        squared = error.square().sum() / x.shape[0]
        terms: dict[str, Tensor] = {}
        if c.k is not None:
            total = squared / inputs.variance
        else:
            penalty = codes.sum() / x.shape[0]
            total = (
                squared + inputs.sparsity * warmed(c.l1_warmup, self.run.steps, inputs.step) * penalty
            ) / model.d_out
            terms["l1"] = penalty.detach()
        auxiliary = self._auxiliary(model, inputs, z, codes.detach(), error.detach())
        if auxiliary is not None:
            total = total + c.aux_weight * auxiliary
            terms["auxiliary"] = auxiliary.detach()
        return StepLoss(total, squared.detach(), (codes.detach() > 0).sum(0), terms)

    def after_step(self, model: DeepAutoencoder, loss: StepLoss) -> None:
        """Keeps the decoder's norms where codes are penalised by their size."""
        if self.own.k is not None:
            return
        first, *later = model.layers[len(model.encoder_layers) :]
        with torch.no_grad():
            first.rows.div_(torch.linalg.vector_norm(first.rows, dim=0).clamp(min=1e-12))
            for layer in later:  # of the first weights' norm, on average over draws
                norm = (2 * layer.rows.shape[0]) ** 0.5
                layer.rows.mul_(norm / torch.linalg.vector_norm(layer.rows).clamp(min=1e-12))

    def _auxiliary(
        self, model: DeepAutoencoder, inputs: StepInputs, z: Tensor, codes: Tensor, error: Tensor
    ) -> Tensor | None:
        c = self.own
        dead = torch.nonzero(inputs.silent >= self.run.dead_after).squeeze(1)
        if c.revival != "auxk" or len(dead) == 0:
            return None
        revived = torch.relu(z[:, dead])
        if len(dead) > c.aux_k:
            revived = torch.zeros_like(revived).scatter(1, *kept(revived, c.aux_k))
        with torch.no_grad():
            before = model.decode(codes)
        change = model.decode(codes.index_add(1, dead, revived)) - before
        missed = (error - change).square().sum(1).mean()
        scale = min(len(dead) / c.aux_k, 1.0)
        centred = error - self.processes.mean(error.mean(0))
        return scale * missed / self.processes.mean(centred.square().sum(1).mean()).clamp(min=1e-12)


def kept(values: Float[Tensor, "batch n"], k: int) -> tuple[Tensor, Tensor]:
    """Places of the k largest values of each row, and the values."""
    places = torch.topk(values.detach(), k, dim=1, sorted=False).indices
    return places, values.gather(1, places)
