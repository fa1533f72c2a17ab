"""A deep SAE: several layers each way, with ReLU between them.

    z = layers of the encoder, h W_enc_i + b_enc_i each, ReLU after all but the last, applied to x
    f = max(z, 0), or the k largest z with negative ones set to 0
    x_hat = layers of the decoder, h W_dec_i + b_dec_i each, ReLU after all but the last, applied to f

With a hidden layer in the decoder a feature's effect depends on the others that fire, so it has no atom. A decoder
without one is linear, and its features have atoms.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig, Selection
from saescope.autoencoders.topk.module import check_k, scattered
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class DeepConfig(AutoencoderConfig):
    """A deep SAE says how wide its hidden layers are."""

    encoder_widths: tuple[int, ...] = ()
    """Widths of the hidden layers between the input and the code, in that order."""
    decoder_widths: tuple[int, ...] = ()
    """Widths of the hidden layers between the code and the output, in that order."""
    k: int = 0
    """Features kept per position; 0: all that are positive."""

    architecture: ClassVar[str] = "deep"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_widths", "decoder_widths"):
            widths = getattr(self, name)
            if widths and min(widths) < 1:
                raise OptionError(f"{name} are {list(widths)}; a hidden layer needs at least 1 dimension")
        if self.k:
            check_k(self.k, self.n_features)
        if self.apply_b_dec_to_input:
            raise OptionError(
                "a deep SAE subtracts nothing from its input", "an offset goes into the first layer's bias"
            )


class Layer(nn.Module):
    """One affine layer, all zeros when new. `rows` [width_out, width_in] is its matrix transposed."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(width_out, width_in))
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, h: Float[Tensor, "batch width_in"]) -> Float[Tensor, "batch width_out"]:
        return functional.linear(h, self.rows, self.bias)


class DeepAutoencoder(Autoencoder):
    """Tensors: for each layer i, from 0, `W_enc_i` and `W_dec_i` [width before, width after], `b_enc_i` and `b_dec_i`
    [width after]. A side of a single layer has them without a number, as other SAEs do."""

    config: DeepConfig

    def __init__(self, config: DeepConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_layers = _layers((config.input_width, *config.encoder_widths, config.n_features))
        self.decoder_layers = _layers((config.n_features, *config.decoder_widths, config.d_out))

    def tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for side, layers in (("enc", self.encoder_layers), ("dec", self.decoder_layers)):
            for name, layer in zip(_suffixes(len(layers)), layers, strict=True):
                assert isinstance(layer, Layer)
                named |= {f"W_{side}{name}": layer.rows.T, f"b_{side}{name}": layer.bias}
        return named

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """Only the first and the last layer see the spaces."""
        result = {name: t.detach().cpu() for name, t in self.tensors().items()}
        first, last = _suffixes(len(self.encoder_layers))[0], _suffixes(len(self.decoder_layers))[-1]
        W_enc, W_dec, b_dec = (result[name] for name in (f"W_enc{first}", f"W_dec{last}", f"b_dec{last}"))
        result[f"W_enc{first}"], shift = inputs.fold_encoder(W_enc, subtracts_b_dec=False)
        result[f"b_enc{first}"] = (result[f"b_enc{first}"] + shift).float()
        result[f"W_dec{last}"], result[f"b_dec{last}"] = targets.fold_decoder(W_dec, b_dec)
        return result

    def pre_activations(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        """z, before the code's activation function."""
        return _through(self.encoder_layers, self.with_noise_level(x))

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection | None:
        return largest(self.pre_activations(x), self.config.k) if self.config.k else None

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        z = self.pre_activations(x)
        return scattered(largest(z, self.config.k), self.n_features) if self.config.k else torch.relu(z)

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        return _through(self.decoder_layers, codes)

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        return self._last.rows.detach().T if self.has_linear_decoder else super().atoms

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"] | None:
        return self._last.bias.detach() if self.has_linear_decoder else None

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"]:
        bias = self.encoder_layers[-1].bias
        assert isinstance(bias, Tensor)
        return bias.detach()

    @property
    def has_linear_decoder(self) -> bool:
        """Whether the decoder is."""
        return not self.config.decoder_widths

    @property
    def _last(self) -> Layer:
        layer = self.decoder_layers[-1]
        assert isinstance(layer, Layer)
        return layer


def _layers(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(Layer(before, after) for before, after in itertools.pairwise(widths))


def _suffixes(n_layers: int) -> list[str]:
    """What names of a side's tensors end in, layer by layer."""
    return [f"_{i}" for i in range(n_layers)] if n_layers > 1 else [""]


def _through(layers: nn.ModuleList, h: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width_out"]:
    for layer in layers[:-1]:
        h = torch.relu(layer(h))
    out: Tensor = layers[-1](h)
    return out
