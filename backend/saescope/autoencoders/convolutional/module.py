"""A convolutional autoencoder: strided convolutions down, a linear bottleneck, transposed convolutions up.

    h_0 = (x - input_mean) input_scale      as an image; with a noise input its level as one more plane
    h_i = act(h_{i-1} * W_enc_i + b_enc_i)  through the stages, each with stride 2
    f = h W_enc_n + b_enc_n                 all of the last stage's values, rows of pixels, channels last
    g_0 = act(f W_dec_0 + b_dec_0)          likewise
    g_i = act(g_{i-1} (*) W_dec_i + b_dec_i)   transposed convolutions with stride 2; the last one without act
    x_hat = g_n / output_scale + output_mean, or sigmoid(g_n)

A stage takes a length n to (n + 2 p - k) // 2 + 1 with p = (k - 1) // 2 pixels of 0 around, and its counterpart back to
n. In training every layer with an activation function is normalised over the batch, each channel by itself (in g_0 each
unit). A checkpoint has plain layers: the running statistics are folded into them. The data's mean is of each pixel, so
no kernel can take it up: it stays a tensor.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.convolutional import check_size, halved, padding
from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.layered import SLOPE, Activation, BatchNorm, Layer
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.store.errors import OptionError

SPACES = ("input_mean", "input_scale", "output_mean", "output_scale")


@dataclass(frozen=True)
class ConvolutionalConfig(AutoencoderConfig):
    """It says what its images and its stages are."""

    input_shape: tuple[int, ...] = ()
    """Height, width and channels of the images; an activation has rows of pixels, channels last."""
    channels: tuple[int, ...] = ()
    """Channels after each stage of the encoder; the decoder mirrors them."""
    kernel_size: int = 4
    """Height and width of the kernels."""
    activation: Activation = "relu"
    """Activation function of all layers but the code and the output; leaky_relu has slope 0.01 below 0."""
    sigmoid_output: bool = False
    """Whether a sigmoid follows the last layer."""

    architecture: ClassVar[str] = "convolutional"
    has_sparse_code: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.input_shape)
        height, width, channels = self.input_shape
        if self.d_in != height * width * channels or self.d_out != self.d_in:
            raise OptionError(
                f"input_shape {list(self.input_shape)} has {height * width * channels} values, but d_in is {self.d_in} "
                f"and d_out {self.d_out}",
                "images go in, and images of their shape come out",
            )
        if not self.channels or min(self.channels) < 1:
            raise OptionError(f"channels are {list(self.channels)}; at least one stage is needed, of 1 channel or more")
        if self.kernel_size < 2:
            raise OptionError(f"kernel_size is {self.kernel_size}; stages that halve an image need 2 or more")
        if min(self.grids[-1]) < 1:
            most = sum(min(grid) >= 1 for grid in self.grids[1:])
            raise OptionError(
                f"{len(self.channels)} stages halve an image of {height} x {width} to nothing", f"give {most} at most"
            )
        if self.apply_b_dec_to_input:
            raise OptionError("a convolutional autoencoder subtracts nothing from its input but the data's mean")

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Height and width of the image, and after each stage."""
        height, width, _ = self.input_shape
        found = [(height, width)]
        for _ in self.channels:
            height, width = halved(height, self.kernel_size), halved(width, self.kernel_size)
            found.append((height, width))
        return found


class Convolution(nn.Module):
    """A convolution with stride 2, all zeros when new."""

    def __init__(self, before: int, after: int, kernel_size: int) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.zeros(after, before, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(
        self, h: Float[Tensor, "batch before height width"], biased: bool = True
    ) -> Float[Tensor, "batch after h_out w_out"]:
        around = padding(self.kernels.shape[-1])
        return functional.conv2d(h, self.kernels, self.bias if biased else None, stride=2, padding=around)


class TransposedConvolution(nn.Module):
    """The transpose of a convolution with stride 2, and a bias; all zeros when new."""

    def __init__(self, before: int, after: int, kernel_size: int) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.zeros(before, after, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(
        self, h: Float[Tensor, "batch before height width"], grid: tuple[int, int], biased: bool = True
    ) -> Float[Tensor, "batch after h_out w_out"]:
        """`grid` is the height and the width of the output: a stage takes two lengths to one."""
        size = self.kernels.shape[-1]
        around = padding(size)
        rows, columns = ((n - 1) * 2 - 2 * around + size for n in h.shape[2:])
        further = (grid[0] - rows, grid[1] - columns)
        bias = self.bias if biased else None
        return functional.conv_transpose2d(h, self.kernels, bias, 2, around, output_padding=further)


class ConvolutionalAutoencoder(Autoencoder):
    """Tensors: for each stage i, from 0, `W_enc_i` [channels after, channels before, k, k] and `b_enc_i`; last of the
    encoder the matrix into the code, `W_enc_n` [values, n_features], and `b_enc_n`. `W_dec_0` [n_features, values] and
    `b_dec_0`, then for each stage `W_dec_i` [channels before, channels after, k, k] and `b_dec_i`. `input_mean` [d_in],
    `input_scale` [], `output_mean` [d_out] and `output_scale` []."""

    config: ConvolutionalConfig
    input_mean: Tensor
    input_scale: Tensor
    output_mean: Tensor
    output_scale: Tensor

    def __init__(self, config: ConvolutionalConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        _, _, planes = c.input_shape
        height, width = c.grids[-1]
        n_values = height * width * c.channels[-1]
        down = (planes + c.noise_input, *c.channels)
        up = (*c.channels[::-1], planes)
        self.stages = nn.ModuleList(Convolution(a, b, c.kernel_size) for a, b in itertools.pairwise(down))
        self.code_layer = Layer(n_values, c.n_features)
        self.first_layer = Layer(c.n_features, n_values)
        self.transposed = nn.ModuleList(TransposedConvolution(a, b, c.kernel_size) for a, b in itertools.pairwise(up))
        self.encoder_norms, self.decoder_norms = nn.ModuleList(), nn.ModuleList()
        for side, width_of_side in (("input", c.d_in), ("output", c.d_out)):
            self.register_buffer(f"{side}_mean", torch.zeros(width_of_side))
            self.register_buffer(f"{side}_scale", torch.ones(()))

    def add_batch_norm(self) -> None:
        """Normalises each layer that has an activation function over the batch in training."""
        self.encoder_norms.extend(BatchNorm(n) for n in self.config.channels)
        widths = (self.code_layer.rows.shape[1], *self.config.channels[-2::-1])
        self.decoder_norms.extend(BatchNorm(n) for n in widths)

    @property
    def kernels(self) -> list[nn.Parameter]:
        """Of all convolutions, from the input to the output."""
        return [stage.kernels for stage in self._down] + [stage.kernels for stage in self._up]

    @property
    def output_bias(self) -> Tensor:
        """Of the last layer: one for each channel."""
        return self._up[-1].bias

    def tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for i, stage in enumerate(self._down):
            named |= {f"W_enc_{i}": stage.kernels, f"b_enc_{i}": stage.bias}
        n = len(self._down)
        named |= {f"W_enc_{n}": self.code_layer.rows.T, f"b_enc_{n}": self.code_layer.bias}
        named |= {"W_dec_0": self.first_layer.rows.T, "b_dec_0": self.first_layer.bias}
        for i, transposed in enumerate(self._up, 1):
            named |= {f"W_dec_{i}": transposed.kernels, f"b_dec_{i}": transposed.bias}
        return named | {name: getattr(self, name) for name in SPACES}

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """The spaces have one scale each, and a mean of each pixel (see the settings)."""
        result = {name: t.detach() for name, t in self.tensors().items()}
        for i, norm in enumerate(self.encoder_norms):
            assert isinstance(norm, BatchNorm)
            W = result[f"W_enc_{i}"]
            matrix, result[f"b_enc_{i}"] = norm.folded_into(W.flatten(1).T, torch.zeros_like(norm.bias))
            result[f"W_enc_{i}"] = matrix.T.reshape(W.shape)
        for i, norm in enumerate(self.decoder_norms):
            assert isinstance(norm, BatchNorm)
            W = result[f"W_dec_{i}"].movedim(1, -1)  # what the layer gives comes last
            matrix, result[f"b_dec_{i}"] = norm.folded_into(W.flatten(0, -2), torch.zeros_like(norm.bias))
            result[f"W_dec_{i}"] = matrix.reshape(W.shape).movedim(-1, 1)
        result = {name: t.cpu() for name, t in result.items()}
        for side, space in (("input", inputs), ("output", targets)):
            mean = result[f"{side}_mean"]
            unit, result[f"{side}_mean"] = space.fold_decoder(torch.ones(1, len(mean)), mean)
            result[f"{side}_scale"] = 1 / unit[0, 0].double()
        return {name: t.float() for name, t in result.items()}

    def encode(self, x: Float[Tensor, "batch d_in"], training: bool = False) -> Float[Tensor, "batch n_features"]:
        """`training`: with the batch's statistics, where there is batch normalisation."""
        x, d_in = self.with_noise_level(x), self.d_in
        height, width, planes = self.config.input_shape
        h = ((x[:, :d_in] - self.input_mean) * self.input_scale).view(-1, height, width, planes)
        if self.config.noise_input:
            h = torch.cat([h, x[:, d_in:].view(-1, 1, 1, 1).expand(-1, height, width, 1)], dim=3)
        h = h.permute(0, 3, 1, 2)
        for stage, norm in itertools.zip_longest(self._down, self.encoder_norms):
            h = self._activated(stage(h, biased=norm is None), norm, training)
        codes: Tensor = self.code_layer(_flat(h))
        return codes

    def outputs(self, codes: Float[Tensor, "batch n_features"], training: bool = False) -> Float[Tensor, "batch d_out"]:
        """What the last layer gives, before a sigmoid."""
        first, *others = self.decoder_norms if len(self.decoder_norms) else [None] * len(self._up)
        bias = self.first_layer.bias if first is None else None
        h = self._activated(functional.linear(codes, self.first_layer.rows, bias), first, training)
        *grids, smallest = self.config.grids
        h = h.view(len(h), *smallest, self.config.channels[-1]).permute(0, 3, 1, 2)
        for stage, grid, norm in zip(self._up[:-1], grids[:0:-1], others, strict=True):
            h = self._activated(stage(h, grid, biased=norm is None), norm, training)
        return _flat(self._up[-1](h, grids[0]))

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        out = self.outputs(codes)
        return torch.sigmoid(out) if self.config.sigmoid_output else out / self.output_scale + self.output_mean

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"]:
        return self.code_layer.bias.detach()

    def _activated(self, h: Tensor, norm: nn.Module | None, training: bool) -> Tensor:
        if norm is not None:
            h = norm(h, training=training)
        return functional.leaky_relu_(h, SLOPE) if self.config.activation == "leaky_relu" else torch.relu_(h)

    @property
    def _down(self) -> list[Convolution]:
        return [stage for stage in self.stages if isinstance(stage, Convolution)]

    @property
    def _up(self) -> list[TransposedConvolution]:
        return [stage for stage in self.transposed if isinstance(stage, TransposedConvolution)]


def _flat(h: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch values"]:
    """Rows of pixels, channels last: no copy where that is the order in memory."""
    return h.permute(0, 2, 3, 1).reshape(len(h), -1)
