"""What the architectures with a linear encoder and a linear decoder share.

    z = (x - b_dec) W_enc + b_enc      (b_dec only where the config says `apply_b_dec_to_input`)
    x_hat = f W_dec + b_dec

An architecture adds the activation function f(z). Three options of the config change what stands around it:

* `input_normalization`: x is normalised by its own numbers first, and x_hat is taken back by the same numbers last.
* `rescale_by_decoder_norm`: f sees z_j ||W_dec_j||, so that what is kept is judged by what it adds to x_hat; codes
  carry that factor, and x_hat = (f / ||W_dec||) W_dec + b_dec.
* `skip`: x_hat + x W_skip, with x as it came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.input_normalization import InputNormalization, spread_of
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig, Selection
from saescope.store.errors import OptionError

SMALLEST_NORM = 1e-12
"""Norm of an atom from which on it is divided by; a smaller one counts as this."""


@dataclass(frozen=True)
class LinearConfig(AutoencoderConfig):
    """Fields of every SAE with a linear encoder and a linear decoder."""

    tied: bool = False
    """Whether W_enc is the transpose of W_dec: one tensor, trained as one."""
    input_normalization: InputNormalization = "none"
    """Normalisation of each input by its own numbers, undone at the output: `layer_norm` (mean 0, standard deviation
    1), `norm` (norm sqrt(d_in)) or `none`."""
    skip: bool = False
    """Whether the output has a linear path from the raw input: x W_skip is added."""
    rescale_by_decoder_norm: bool = False
    """Whether codes are pre-activations times the norm of their atom, divided out again by the decoder."""

    def exported(self) -> LinearConfig:
        """Untied: the two matrices fold differently."""
        return replace(self, tied=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied and self.transcoder:
            raise OptionError("a transcoder's encoder and decoder are in different spaces, so they cannot be tied")
        if self.noise_input and (self.tied or self.skip or self.input_normalization != "none"):
            raise OptionError(
                "a noise input goes with no tied weights, no skip term and no normalisation of each input",
                "leave those out, or the noise input",
            )
        if self.input_normalization == "layer_norm" and self.d_in < 2:
            raise OptionError("layer_norm divides by the spread over the dimensions of an input, and d_in is 1")


class LinearAutoencoder(Autoencoder):
    """Holds `W_enc` [input_width, n_features], `W_dec` [n_features, d_out], `b_enc` [n_features], `b_dec` [d_out] and,
    with `skip`, `W_skip` [d_in, d_out].

    A new module is all zeros: training or a checkpoint fills it. With tied weights only `W_dec` is a parameter.
    """

    config: LinearConfig
    b_enc: Float[Tensor, " n_features"]
    b_dec: Float[Tensor, " d_out"]
    W_dec: Float[Tensor, "n_features d_out"]
    W_skip: Float[Tensor, "d_in d_out"]

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        if not config.tied:
            self.encoder = nn.Parameter(torch.zeros(config.n_features, config.input_width))
        self.W_dec = nn.Parameter(torch.zeros(config.n_features, config.d_out))
        self.b_enc = nn.Parameter(torch.zeros(config.n_features))
        self.b_dec = nn.Parameter(torch.zeros(config.d_out))
        if config.skip:
            self.W_skip = nn.Parameter(torch.zeros(config.d_in, config.d_out))

    @property
    def encoder_rows(self) -> Float[Tensor, "n_features input_width"]:
        """W_enc transposed: one contiguous row per feature, as matrix products and sparse gradients like it."""
        return self.W_dec if self.config.tied else self.encoder

    @property
    def W_enc(self) -> Float[Tensor, "input_width n_features"]:
        return self.encoder_rows.T

    @property
    def decoder_norms(self) -> Float[Tensor, " n_features"]:
        """Norm of each row of W_dec."""
        return torch.linalg.vector_norm(self.W_dec, dim=1).clamp(min=SMALLEST_NORM)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the native checkpoint, by name. Architectures that have more add theirs."""
        skip = {"W_skip": self.W_skip} if self.config.skip else {}
        return {"W_enc": self.W_enc, "W_dec": self.W_dec, "b_enc": self.b_enc, "b_dec": self.b_dec, **skip}

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """What an architecture adds besides the matrices and biases (thresholds) lives beside the pre-activations,
        which do not change, and is kept."""
        c = self.config
        raw = inputs.is_raw and targets.is_raw
        assert raw or c.input_normalization == "none", "a per-input normalisation cannot be folded with another space"
        assert raw or not c.rescale_by_decoder_norm, "folding changes the norms that pre-activations are scaled by"
        result = {name: t.detach().cpu() for name, t in self.tensors().items()}
        b_dec = result["b_dec"]
        result["W_enc"], shift = inputs.fold_encoder(result["W_enc"], subtracts_b_dec=c.apply_b_dec_to_input)
        result |= {name: bias.float() for name, bias in self.biases_after_shift(result, shift).items()}
        if c.skip:
            into, offset = inputs.fold_encoder(result["W_skip"], subtracts_b_dec=False)
            result["W_skip"], _ = targets.fold_decoder(into, b_dec)
            b_dec = b_dec + offset
        result["W_dec"], result["b_dec"] = targets.fold_decoder(result["W_dec"], b_dec)
        return result

    def biases_after_shift(
        self, tensors: dict[str, Tensor], shift: Float[Tensor, " n_features"]
    ) -> dict[str, Float[Tensor, " n_features"]]:
        """The encoder's biases for inputs whose product with W_enc lacks `shift` (float64), from those in `tensors`.

        With them, moving the origin of the inputs changes no code.
        """
        return {"b_enc": tensors["b_enc"] + shift}

    def pre_activations(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        """z, before the activation function, times the atoms' norms where the config says so."""
        z = functional.linear(self.centred(x), self.encoder_rows, self.b_enc)
        return z * self.decoder_norms if self.config.rescale_by_decoder_norm else z

    def centred(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch input_width"]:
        """What the encoder's matrix is applied to: x, normalised and less b_dec where the config says so, the noise
        level behind where it is taken."""
        if self.config.noise_input:
            return self.with_noise_level(x)
        if self.config.input_normalization != "none":
            x = spread_of(x, self.config.input_normalization).normalise(x)
        return x - self.b_dec if self.config.apply_b_dec_to_input else x

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        if self.config.rescale_by_decoder_norm:
            codes = codes / self.decoder_norms
        return torch.addmm(self.b_dec, codes, self.W_dec)

    def decode_selection(self, selection: Selection) -> Float[Tensor, "batch d_out"]:
        """`decode` of a selection, at the cost of its k entries per position."""
        values = selection.values
        if self.config.rescale_by_decoder_norm:
            values = values / self.decoder_norms[selection.indices]
        return decode_sparse(selection.indices, values, self.W_dec) + self.b_dec

    @property
    def needs_input(self) -> bool:
        return self.config.skip or self.config.input_normalization != "none"

    def restore(
        self, x: Float[Tensor, "batch d_in"], decoded: Float[Tensor, "batch d_out"]
    ) -> Float[Tensor, "batch d_out"]:
        if self.config.input_normalization != "none":
            decoded = spread_of(x, self.config.input_normalization).undo(decoded)
        return torch.addmm(decoded, x, self.W_skip) if self.config.skip else decoded

    @property
    def has_linear_decoder(self) -> bool:
        return True

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        rows = self.W_dec.detach()
        return rows / self.decoder_norms.detach().unsqueeze(1) if self.config.rescale_by_decoder_norm else rows

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"]:
        return self.b_dec.detach()

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"] | None:
        return self.b_enc.detach()


def decode_sparse(
    indices: Tensor, values: Float[Tensor, "batch k"], W_dec: Float[Tensor, "n_features d_out"]
) -> Float[Tensor, "batch d_out"]:
    """sum_i values[:, i] W_dec[indices[:, i]], without dense codes."""
    return functional.embedding_bag(indices, W_dec, per_sample_weights=values, mode="sum")
