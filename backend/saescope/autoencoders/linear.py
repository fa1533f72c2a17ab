"""What the architectures with a linear encoder and a linear decoder share.

    z = (x - b_dec) W_enc + b_enc      (b_dec only where the config says `apply_b_dec_to_input`)
    x_hat = f W_dec + b_dec

An architecture adds the activation function f(z).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig, Selection


@dataclass(frozen=True)
class LinearConfig(AutoencoderConfig):
    """Fields of every SAE with a linear encoder and a linear decoder."""

    tied: bool = False
    """Whether W_enc is the transpose of W_dec: one tensor, trained as one."""


class LinearAutoencoder(Autoencoder):
    """Holds `W_enc` [d_in, n_features], `W_dec` [n_features, d_in], `b_enc` [n_features] and `b_dec` [d_in].

    A new module is all zeros: training or a checkpoint fills it. With tied weights only `W_dec` is a parameter.
    """

    config: LinearConfig
    b_enc: Float[Tensor, " n_features"]
    b_dec: Float[Tensor, " d_in"]
    W_dec: Float[Tensor, "n_features d_in"]

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        if not config.tied:
            self.encoder = nn.Parameter(torch.zeros(config.n_features, config.d_in))
        self.W_dec = nn.Parameter(torch.zeros(config.n_features, config.d_in))
        self.b_enc = nn.Parameter(torch.zeros(config.n_features))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))

    @property
    def encoder_rows(self) -> Float[Tensor, "n_features d_in"]:
        """W_enc transposed: one contiguous row per feature, as matrix products and sparse gradients like it."""
        return self.W_dec if self.config.tied else self.encoder

    @property
    def W_enc(self) -> Float[Tensor, "d_in n_features"]:
        return self.encoder_rows.T

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the native checkpoint, by name. Architectures that have more add theirs."""
        return {"W_enc": self.W_enc, "W_dec": self.W_dec, "b_enc": self.b_enc, "b_dec": self.b_dec}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copies the tensors of `tensors()` in. Shapes must fit."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])

    def biases_after_shift(
        self, tensors: dict[str, Tensor], shift: Float[Tensor, " n_features"]
    ) -> dict[str, Float[Tensor, " n_features"]]:
        """The encoder's biases for inputs whose product with W_enc lacks `shift` (float64), from those in `tensors`.

        With them, moving the origin of the inputs changes no code.
        """
        return {"b_enc": tensors["b_enc"] + shift}

    def pre_activations(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        """z, before the activation function."""
        return functional.linear(self.centred(x), self.encoder_rows, self.b_enc)

    def centred(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """What the encoder's matrix is applied to: x, less b_dec where the config says so."""
        return x - self.b_dec if self.config.apply_b_dec_to_input else x

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_in"]:
        return torch.addmm(self.b_dec, codes, self.W_dec)

    def decode_selection(self, selection: Selection) -> Float[Tensor, "batch d_in"]:
        """`decode` of a selection, at the cost of its k entries per position."""
        return decode_sparse(selection.indices, selection.values, self.W_dec) + self.b_dec

    @property
    def atoms(self) -> Float[Tensor, "n_features d_in"]:
        return self.W_dec.detach()

    @property
    def decoder_bias(self) -> Float[Tensor, " d_in"]:
        return self.b_dec.detach()

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"]:
        return self.b_enc.detach()


def decode_sparse(
    indices: Tensor, values: Float[Tensor, "batch k"], W_dec: Float[Tensor, "n_features d_in"]
) -> Float[Tensor, "batch d_in"]:
    """sum_i values[:, i] W_dec[indices[:, i]], without dense codes."""
    return functional.embedding_bag(indices, W_dec, per_sample_weights=values, mode="sum")
