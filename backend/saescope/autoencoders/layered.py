"""Autoencoders of several affine layers each way: what their architectures share.

    h_0 = x,  h_i = act(h_{i-1} W_enc_i + b_enc_i)     through the encoder's hidden layers
    z = h W_enc_last + b_enc_last                      of which the architecture makes the code
    x_hat likewise from the code through the decoder's layers, its last one linear, or with a sigmoid after it

In training a hidden layer may be normalised over the batch before its activation function, and units be dropped after
it (see `Regularisation`). A checkpoint has plain layers: the running statistics are folded into them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.store.errors import OptionError

Activation = Literal["relu", "leaky_relu"]
SLOPE = 0.01
"""Of leaky_relu, below 0."""
MOMENTUM = 0.1
"""Weight of a batch in the running statistics."""
EPSILON = 1e-5
"""Added to a variance before its root is taken."""


@dataclass(frozen=True)
class LayeredConfig(AutoencoderConfig):
    """It says how wide its hidden layers are."""

    encoder_widths: tuple[int, ...] = ()
    """Widths of the hidden layers between the input and the code, in that order."""
    decoder_widths: tuple[int, ...] = ()
    """Widths of the hidden layers between the code and the output, in that order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_widths", "decoder_widths"):
            widths = getattr(self, name)
            if widths and min(widths) < 1:
                raise OptionError(f"{name} are {list(widths)}; a hidden layer needs at least 1 dimension")
        if self.apply_b_dec_to_input:
            raise OptionError(
                "an autoencoder of several layers subtracts nothing from its input",
                "an offset goes into the first layer's bias",
            )

    @property
    def hidden_activation(self) -> Activation:
        """Activation function of the hidden layers."""
        return "relu"

    @property
    def has_sigmoid_output(self) -> bool:
        """Whether the output is a sigmoid's."""
        return False


@dataclass(frozen=True)
class DenseConfig(LayeredConfig):
    """Of autoencoders without a sparse code, which leave the activation function and the output to choose."""

    activation: Activation = "relu"
    """Activation function of the hidden layers; leaky_relu has slope 0.01 below 0."""
    sigmoid_output: bool = False
    """Whether a sigmoid follows the last layer."""

    has_sparse_code: ClassVar[bool] = False

    @property
    def hidden_activation(self) -> Activation:
        return self.activation

    @property
    def has_sigmoid_output(self) -> bool:
        return self.sigmoid_output


class Layer(nn.Module):
    """One affine layer, all zeros when new. `rows` [width_out, width_in] is its matrix transposed."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(width_out, width_in))
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, h: Float[Tensor, "batch width_in"]) -> Float[Tensor, "batch width_out"]:
        return functional.linear(h, self.rows, self.bias)


class BatchNorm(nn.Module):
    """y = gain (h - mean) / sqrt(variance + EPSILON) + bias for each unit (Ioffe & Szegedy 2015): of the batch in
    training, whose unbiased variance enters the running statistics; those otherwise."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_variance", torch.ones(width))

    def forward(self, h: Float[Tensor, "batch width"], training: bool) -> Float[Tensor, "batch width"]:
        return functional.batch_norm(
            h, self.running_mean, self.running_variance, self.gain, self.bias, training, MOMENTUM, EPSILON
        )

    def folded_into(
        self, W: Float[Tensor, "width_in width"], b: Float[Tensor, " width"]
    ) -> tuple[Float[Tensor, "width_in width"], Float[Tensor, " width"]]:
        """The affine layer (float64) that does what `W` and `b` do with the running statistics' normalisation after."""
        gain, bias = self.gain.detach().double(), self.bias.detach().double()
        factor = gain / (self.running_variance.double() + EPSILON).sqrt()
        return W.double() * factor, (b.double() - self.running_mean.double()) * factor + bias


@dataclass(frozen=True)
class Regularisation:
    """What a pass does in training alone: batch statistics where there is batch normalisation, and dropout."""

    dropout: float = 0.0
    """Probability with which a hidden unit is set to 0; the others are divided by 1 - dropout."""
    generator: torch.Generator | None = None
    """Of dropout."""

    def dropped(self, h: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        if not self.dropout:
            return h
        kept = torch.empty_like(h).bernoulli_(1 - self.dropout, generator=self.generator)
        return h * kept / (1 - self.dropout)


class LayeredAutoencoder(Autoencoder):
    """Tensors: for each layer i, from 0, `W_enc_i` and `W_dec_i` [width before, width after], `b_enc_i` and `b_dec_i`
    [width after]. A side of a single layer has them without a number, as other SAEs do."""

    config: LayeredConfig

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_layers = _layers((config.input_width, *config.encoder_widths, config.n_features))
        self.decoder_layers = _layers((config.n_features, *config.decoder_widths, config.d_out))
        self.encoder_norms, self.decoder_norms = nn.ModuleList(), nn.ModuleList()

    def add_batch_norm(self) -> None:
        """Normalises each hidden layer over the batch in training."""
        for norms, widths in (
            (self.encoder_norms, self.config.encoder_widths),
            (self.decoder_norms, self.config.decoder_widths),
        ):
            norms.extend(BatchNorm(width) for width in widths)

    @property
    def layers(self) -> list[Layer]:
        """All layers, from the input to the output."""
        return [layer for layer in (*self.encoder_layers, *self.decoder_layers) if isinstance(layer, Layer)]

    @property
    def code_layer(self) -> Layer:
        """The layer whose outputs the code is made of."""
        return self.layers[len(self.encoder_layers) - 1]

    @property
    def output_layer(self) -> Layer:
        """The decoder's last."""
        return self.layers[-1]

    def tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for side, layers in (("enc", self.encoder_layers), ("dec", self.decoder_layers)):
            for name, layer in zip(_suffixes(len(layers)), layers, strict=True):
                assert isinstance(layer, Layer)
                named |= {f"W_{side}{name}": layer.rows.T, f"b_{side}{name}": layer.bias}
        return named

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """Only the first and the last layer see the spaces. A sigmoid's output is of no other space than the raw."""
        assert targets.is_raw or not self.config.has_sigmoid_output
        result = {name: t.detach() for name, t in self.tensors().items()}
        enc, dec = _suffixes(len(self.encoder_layers)), _suffixes(len(self.decoder_layers))
        for side, names, norms in (("enc", enc, self.encoder_norms), ("dec", dec, self.decoder_norms)):
            for name, norm in zip(names, norms, strict=False):  # none after the last layer
                assert isinstance(norm, BatchNorm)
                W, b = f"W_{side}{name}", f"b_{side}{name}"
                result[W], result[b] = norm.folded_into(result[W], result[b])
        result = {name: t.cpu() for name, t in result.items()}
        first, last = enc[0], dec[-1]
        result[f"W_enc{first}"], shift = inputs.fold_encoder(result[f"W_enc{first}"], subtracts_b_dec=False)
        result[f"b_enc{first}"] = result[f"b_enc{first}"] + shift
        result[f"W_dec{last}"], result[f"b_dec{last}"] = targets.fold_decoder(
            result[f"W_dec{last}"], result[f"b_dec{last}"]
        )
        return {name: t.float() for name, t in result.items()}

    def hidden(
        self, x: Float[Tensor, "batch d_in"], regularisation: Regularisation | None = None
    ) -> Float[Tensor, "batch width"]:
        """What the code layer takes: the last hidden layer's activations, or the inputs where there is none."""
        h = self.with_noise_level(x)
        return self._through_hidden(self.encoder_layers, self.encoder_norms, h, regularisation)

    def pre_activations(
        self, x: Float[Tensor, "batch d_in"], regularisation: Regularisation | None = None
    ) -> Float[Tensor, "batch n_features"]:
        """z, before the code's activation function."""
        z: Tensor = self.code_layer(self.hidden(x, regularisation))
        return z

    def outputs(
        self, codes: Float[Tensor, "batch n_features"], regularisation: Regularisation | None = None
    ) -> Float[Tensor, "batch d_out"]:
        """What the last layer gives, before a sigmoid."""
        h = self._through_hidden(self.decoder_layers, self.decoder_norms, codes, regularisation)
        out: Tensor = self.output_layer(h)
        return out

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        out = self.outputs(codes)
        return torch.sigmoid(out) if self.config.has_sigmoid_output else out

    def code_slopes(self, z: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch n_features"]:
        """df_j / dz_j, for codes that each follow their own z."""
        return torch.ones_like(z)

    @torch.no_grad()
    def encoder_jacobian(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch n_features d_in"]:
        """df_j / dx_i at each input. Where a hidden unit is exactly 0, its slope is that below 0."""
        h, slopes = self.with_noise_level(x), list[Tensor]()
        below = SLOPE if self.config.hidden_activation == "leaky_relu" else 0.0
        *hidden, code = self.layers[: len(self.encoder_layers)]
        for layer in hidden:
            h = layer(h)
            slopes.append((h > 0) + below * (h <= 0))
            h = h * slopes[-1]
        jacobian = self.code_slopes(code(h)).unsqueeze(2) * code.rows
        for layer, slope in zip(reversed(hidden), reversed(slopes), strict=True):
            jacobian = (jacobian * slope.unsqueeze(1)) @ layer.rows
        return jacobian[:, :, : self.d_in]

    @property
    def has_linear_decoder(self) -> bool:
        """Whether the decoder is."""
        return not self.config.decoder_widths and not self.config.has_sigmoid_output

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        return self.output_layer.rows.detach().T if self.has_linear_decoder else super().atoms

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"] | None:
        return self.output_layer.bias.detach() if self.has_linear_decoder else None

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"]:
        return self.code_layer.bias.detach()

    def _through_hidden(
        self, layers: nn.ModuleList, norms: nn.ModuleList, h: Tensor, regularisation: Regularisation | None
    ) -> Tensor:
        leaky = self.config.hidden_activation == "leaky_relu"
        for layer, norm in itertools.zip_longest(layers[:-1], norms):
            h = layer(h)
            if norm is not None:
                h = norm(h, training=regularisation is not None)
            h = functional.leaky_relu(h, SLOPE) if leaky else torch.relu(h)
            if regularisation is not None:
                h = regularisation.dropped(h)
        return h


def _layers(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(Layer(before, after) for before, after in itertools.pairwise(widths))


def _suffixes(n_layers: int) -> list[str]:
    """What names of a side's tensors end in, layer by layer."""
    return [f"_{i}" for i in range(n_layers)] if n_layers > 1 else [""]
