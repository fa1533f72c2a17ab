"""A variational autoencoder: q(z|x) = N(mu, diag sigma^2), p(z) = N(0, I), and p(x|z) by the decoder.

    h = last hidden layer of the encoder
    mu = h W_enc + b_enc                    the code, f = mu
    log sigma^2 = h W_log_variance + b_log_variance
    p(x|z)    Bernoulli with means sigmoid(outputs(z)), or Gaussian with mean outputs(z) and one variance

A pass is deterministic: `encode` gives mu, and `decode` the mean of p(x|z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.layered import DenseConfig, Layer, LayeredAutoencoder, Regularisation


@dataclass(frozen=True)
class VariationalConfig(DenseConfig):
    """With `sigmoid_output` the output is Bernoulli, otherwise Gaussian."""

    architecture: ClassVar[str] = "variational"


class Posterior(NamedTuple):
    """q(z|x) of each input."""

    mean: Float[Tensor, "batch n_features"]
    log_variance: Float[Tensor, "batch n_features"]

    def draw(self, generator: torch.Generator | None = None) -> Float[Tensor, "batch n_features"]:
        """z = mu + sigma e, e ~ N(0, I): differentiable in mu and sigma."""
        e = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + (0.5 * self.log_variance).exp() * e

    @property
    def divergence(self) -> Float[Tensor, "batch n_features"]:
        """KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1 - log sigma^2) / 2 of each unit, nats."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)


class VariationalAutoencoder(LayeredAutoencoder):
    """Tensors besides those of the layers: `W_log_variance` [width before, n_features] and `b_log_variance`
    [n_features], and where the output is Gaussian `log_output_variance` []."""

    config: VariationalConfig

    def __init__(self, config: VariationalConfig) -> None:
        super().__init__(config)
        *_, width = config.input_width, *config.encoder_widths
        self.variance_layer = Layer(width, config.n_features)
        if not config.sigmoid_output:
            self.log_output_variance = nn.Parameter(torch.zeros(()))

    @property
    def layers(self) -> list[Layer]:
        n, found = len(self.encoder_layers), super().layers
        return [*found[:n], self.variance_layer, *found[n:]]

    def tensors(self) -> dict[str, Tensor]:
        named = super().tensors() | {
            "W_log_variance": self.variance_layer.rows.T,
            "b_log_variance": self.variance_layer.bias,
        }
        if not self.config.sigmoid_output:
            named["log_output_variance"] = self.log_output_variance
        return named

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        result = super().folded_tensors(inputs, targets)
        if not self.config.encoder_widths:  # the layer sees the inputs themselves
            W, shift = inputs.fold_encoder(self.variance_layer.rows.T.detach().cpu(), subtracts_b_dec=False)
            result["W_log_variance"] = W
            result["b_log_variance"] = (self.variance_layer.bias.detach().cpu() + shift).float()
        if not self.config.sigmoid_output:
            unit, _ = targets.fold_decoder(torch.ones(1, self.d_out), torch.zeros(self.d_out))
            result["log_output_variance"] = result["log_output_variance"] + 2 * unit[0, 0].log()
        return result

    def posterior(self, x: Float[Tensor, "batch d_in"], regularisation: Regularisation | None = None) -> Posterior:
        """q(z|x)."""
        h = self.hidden(x, regularisation)
        return Posterior(self.code_layer(h), self.variance_layer(h))

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return self.pre_activations(x)

    def log_likelihood(
        self, outputs: Float[Tensor, "batch d_out"], x: Float[Tensor, "batch d_out"]
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) of each input in nats, from what the last layer gives.

        Bernoulli    sum_i x_i log p_i + (1 - x_i) log(1 - p_i),  p = sigmoid(outputs)
        Gaussian     -(||x - outputs||^2 / v + d log(2 pi v)) / 2
        """
        if self.config.sigmoid_output:
            return -functional.binary_cross_entropy_with_logits(outputs, x, reduction="none").sum(1)
        squared = (x - outputs).square().sum(1) / self.log_output_variance.exp()
        return -0.5 * (squared + self.d_out * (math.log(2 * math.pi) + self.log_output_variance))

    def evidence_bound(
        self,
        x: Float[Tensor, "batch d_in"],
        targets: Float[Tensor, "batch d_out"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) - KL(q(z|x) || p(z)) of each input in nats, z one draw of q(z|x): the evidence lower bound (ELBO),
        an unbiased estimate of the bound on log p(x)."""
        q = self.posterior(x)
        return self.log_likelihood(self.outputs(q.draw(generator)), targets) - q.divergence.sum(1)
