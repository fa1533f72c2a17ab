"""A convolutional autoencoder rebuilds its input, and that is all, per value of the image:

    mse    loss = ||x - x_hat||^2 / d_out                                               (means over the batch)
    bce    loss = - sum_i [x_i log x_hat_i + (1 - x_i) log(1 - x_hat_i)] / d_out,  x_hat = sigmoid(outputs)
    psnr   loss = log(||x - x_hat||^2 / d_out)

Weights begin as He et al. 2015 advise, W ~ N(0, g / fan-in), with g = 2 where an activation function follows and 1
where none does; biases at 0, the output's at the mean of the data over pixels.
"""

from __future__ import annotations

from typing import Never

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.convolutional import ConvolutionalSettings
from saescope.autoencoders.convolutional.module import ConvolutionalAutoencoder, ConvolutionalConfig
from saescope.autoencoders.objectives.layered import EXTREME_MEAN, log_error
from saescope.autoencoders.objectives.protocol import Objective, StepInputs, StepLoss
from saescope.store.errors import OptionError


class ConvolutionalObjective(Objective[ConvolutionalAutoencoder, ConvolutionalSettings[Never]]):
    """See the module."""

    def new_model(self, d_in: int) -> ConvolutionalAutoencoder:
        c = self.own
        if self.processes.size > 1:
            raise OptionError(
                f"batch normalisation takes its statistics from a whole batch, which {self.processes.size} processes "
                "share",
                "train convolutional with one process",
            )
        model = ConvolutionalAutoencoder(
            ConvolutionalConfig(
                d_in=d_in,
                n_features=self.run.n_features,
                d_out=self.d_target or d_in,
                transcoder=self.d_target is not None,
                noise_input=self.run.noise_conditioning,
                input_shape=c.input_shape,
                channels=c.channels,
                kernel_size=c.kernel_size,
                activation=c.activation,
                sigmoid_output=c.output == "sigmoid",
            )
        )
        model.add_batch_norm()
        return model

    def initialise(self, model: ConvolutionalAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            *hidden, last = self.matrices(model)
            for W in hidden:
                gain = 1 if W is model.code_layer.rows else 2
                W.normal_(std=(gain / fan_in(W, model)) ** 0.5, generator=generator)
            last.normal_(std=fan_in(last, model) ** -0.5, generator=generator)
            if not model.config.transcoder:
                self.set_target_mean(model, sample[:, : model.d_in].mean(0))

    def set_target_mean(self, model: ConvolutionalAutoencoder, mean: Float[Tensor, " d_out"]) -> None:
        of_channels = mean.view(-1, model.config.input_shape[2]).mean(0)
        sigmoid = model.config.sigmoid_output
        model.output_bias.copy_(torch.logit(of_channels, EXTREME_MEAN) if sigmoid else of_channels)

    def matrices(self, model: ConvolutionalAutoencoder) -> list[Tensor]:
        kernels, n = model.kernels, len(model.config.channels)
        return [*kernels[:n], model.code_layer.rows, model.first_layer.rows, *kernels[n:]]

    def bias_parameters(self, model: ConvolutionalAutoencoder) -> list[Tensor]:
        return [model.code_layer.bias]

    def loss(self, model: ConvolutionalAutoencoder, inputs: StepInputs) -> StepLoss:
        codes = model.encode(inputs.x, training=True)
        outputs, target = model.outputs(codes, training=True), inputs.target
        rebuilt = torch.sigmoid(outputs) if model.config.sigmoid_output else outputs
        if self.own.loss == "psnr":
            total, squared = log_error(rebuilt, target)
        else:
            squared = (target - rebuilt).square().sum() / len(target)
            total = squared / model.d_out
        if self.own.loss == "bce":
            total = functional.binary_cross_entropy_with_logits(outputs, target)
        return StepLoss(total, squared.detach(), (codes.detach() != 0).sum(0))


def fan_in(W: Tensor, model: ConvolutionalAutoencoder) -> float:
    """Values that one output of a layer is made of. Of a transposed convolution's k^2 weights with each channel, the
    stride lets a quarter meet one output."""
    if W.ndim == 2:
        return W.shape[1]
    transposed = any(W is kernels for kernels in model.kernels[len(model.config.channels) :])
    return W.shape[0] * W[0, 0].numel() / 4 if transposed else W[0].numel()
