"""How autoencoders of several layers are trained: first weights, and what is rebuilt."""

from __future__ import annotations

from typing import Any, Never, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.layered import Layer, LayeredAutoencoder, Regularisation
from saescope.autoencoders.objectives.protocol import Objective, StepInputs, step_generator
from saescope.autoencoders.settings.layered import DenseSettings, HiddenLayers
from saescope.store.errors import OptionError

LayeredModel = TypeVar("LayeredModel", bound=LayeredAutoencoder)
LayeredOwn = TypeVar("LayeredOwn", bound=HiddenLayers[Never])
DenseOwn = TypeVar("DenseOwn", bound=DenseSettings[Never])

EXTREME_MEAN = 1e-3
"""How far from 0 and 1 the mean lies that a sigmoid's first bias gives."""

SMALLEST_ERROR = 1e-6
"""Added to the mean squared error of which `log_error` takes the logarithm."""

LOGITS = 2.0
"""Standard deviation that a sigmoid's inputs are taken to have, dimension by dimension."""


class LayeredObjective(Objective[LayeredModel, LayeredOwn]):
    """How an autoencoder of several layers is trained."""

    def fields(self, d_in: int) -> dict[str, Any]:
        """The config fields that each takes from the settings."""
        return {
            "d_in": d_in,
            "n_features": self.run.n_features,
            "d_out": self.d_target or d_in,
            "transcoder": self.d_target is not None,
            "noise_input": self.run.noise_conditioning,
            "encoder_widths": self.own.encoder_widths,
            "decoder_widths": self.own.decoder_widths,
        }

    def set_target_mean(self, model: LayeredModel, mean: Float[Tensor, " d_out"]) -> None:
        model.output_layer.bias.copy_(mean)

    def matrices(self, model: LayeredModel) -> list[Tensor]:
        return [layer.rows for layer in model.layers]

    def bias_parameters(self, model: LayeredModel) -> list[Tensor]:
        return [model.code_layer.bias]


class DenseObjective(LayeredObjective[LayeredModel, DenseOwn]):
    """Of autoencoders without sparsity, with `DenseSettings`.

    Weights begin as He et al. 2015 advise, W_ij ~ N(0, g / fan-in), with g = 2 where an activation function follows and
    1 where none does; biases at 0, the output's such that it is the data's mean.
    """

    def fields(self, d_in: int) -> dict[str, Any]:
        c = self.own
        return {**super().fields(d_in), "activation": c.activation, "sigmoid_output": c.loss == "bce"}

    def with_batch_norm(self, model: LayeredModel) -> LayeredModel:
        """The new model with what the settings add to it in training."""
        if self.own.batch_norm:
            if self.processes.size > 1:
                raise OptionError(
                    f"batch normalisation takes its statistics from a whole batch, which {self.processes.size} "
                    "processes share",
                    "leave --batch-norm out, or train with one process",
                )
            model.add_batch_norm()
        return model

    def initialise(self, model: LayeredModel, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        linear = (model.code_layer, model.output_layer)
        with torch.no_grad():
            for layer in model.layers:
                gain = 1 if any(layer is each for each in linear) else 2
                layer.rows.normal_(std=(gain / layer.rows.shape[1]) ** 0.5, generator=generator)
                layer.bias.zero_()
            if not model.config.transcoder:
                mean = sample[:, : model.d_in].mean(0)
                if model.config.has_sigmoid_output:
                    mean = torch.logit(mean, EXTREME_MEAN)
                model.output_layer.bias.copy_(mean)

    def regularisation(self, inputs: StepInputs) -> Regularisation:
        """That of a step."""
        dropout = self.own.dropout
        generator = step_generator(self.run, inputs.step, inputs.x.device, self.processes.rank) if dropout else None
        return Regularisation(dropout, generator)

    def rebuilding(
        self, outputs: Float[Tensor, "batch d_out"], target: Float[Tensor, "batch d_out"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss of the reconstruction, summed over dimensions, and ||x - x_hat||^2 without gradient; both means over
        the batch. `outputs` are the last layer's, before a sigmoid.

            mse    sum_i (x_i - x_hat_i)^2
            bce    - sum_i [x_i log x_hat_i + (1 - x_i) log(1 - x_hat_i)],  x_hat = sigmoid(outputs)
            psnr   d_out log(mse / d_out), see `log_error`
        """
        if self.own.loss == "psnr":
            logarithm, squared = log_error(outputs, target)
            return logarithm * target.shape[1], squared
        if self.own.loss == "mse":
            squared = (target - outputs).square().sum() / len(target)
            return squared, squared.detach()
        entropy = functional.binary_cross_entropy_with_logits(outputs, target, reduction="sum") / len(target)
        return entropy, (target - torch.sigmoid(outputs.detach())).square().sum() / len(target)


def log_error(
    rebuilt: Float[Tensor, "batch d_out"], target: Float[Tensor, "batch d_out"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """log(||x - x_hat||^2 / d_out + 1e-6) and ||x - x_hat||^2, this without gradient, both means over the batch.

    The first is -PSNR log(10) / 10 up to a constant (Chen et al. 2021, "HINet");
    what is added keeps an exact reconstruction finite, 60 dB below a range of 1.
    """
    squared = (target - rebuilt).square().sum(1)
    return torch.log(squared / target.shape[1] + SMALLEST_ERROR).mean(), squared.detach().mean()


def decoder_of(model: LayeredAutoencoder) -> list[Layer]:
    """The decoder's layers."""
    return list(model.layers[-len(model.decoder_layers) :])


def remember_norms(model: LayeredAutoencoder) -> None:
    """Makes room for the norms of a new model's decoder in the state of training: a run that goes on keeps the same."""
    model.register_buffer("kept_norms", torch.zeros(len(model.decoder_layers)))


def begin_norms(model: LayeredAutoencoder, norm: float) -> None:
    """Gives each unit's row of the decoder's first layer the norm `norm`, to be kept; later layers keep the Frobenius
    norm that they have."""
    norms = [norm, *(float(layer.rows.norm()) for layer in decoder_of(model)[1:])]
    model.get_buffer("kept_norms").copy_(torch.tensor(norms))
    keep_norms(model)


def keep_norms(model: LayeredAutoencoder) -> None:
    """The norms of `begin_norms`: a code that shrinks is not made up for."""
    first, *later = decoder_of(model)
    norms = model.get_buffer("kept_norms")
    with torch.no_grad():
        first.rows.mul_(norms[0] / torch.linalg.vector_norm(first.rows, dim=0).clamp(min=1e-12))
        for layer, norm in zip(later, norms[1:], strict=True):
            layer.rows.mul_(norm / torch.linalg.vector_norm(layer.rows).clamp(min=1e-12))


def spread_of(model: LayeredAutoencoder, sample: Float[Tensor, "batch d_in"]) -> float:
    """Mean squared norm of what is rebuilt about its mean, before a sigmoid, as far as a sample of inputs tells."""
    if model.config.has_sigmoid_output:
        return LOGITS**2 * model.d_out
    if model.config.transcoder:
        return float(model.d_out)  # about, in the space of training
    return float((sample - sample.mean(0)).square().sum(1).mean())
