"""Folding a data set's scale into weights, so that raw activations go in and raw reconstructions come out."""

from __future__ import annotations

from torch import Tensor


def scale_input(tensors: dict[str, Tensor], scale: float) -> None:
    """Makes of weights for inputs scale * x those for raw x, in place. Codes stay as they are: b_enc, the other biases
    of the encoder and thresholds stand beside the pre-activations.

        z = (scale x - b_dec) W_enc + b_enc = (x - b_dec / scale) (scale W_enc) + b_enc
        x_hat = (f W_dec + b_dec) / scale
    """
    tensors["W_enc"] = tensors["W_enc"] * scale
    tensors["W_dec"] = tensors["W_dec"] / scale
    tensors["b_dec"] = tensors["b_dec"] / scale


def scale_codes(tensors: dict[str, Tensor], input_scale: float, output_scale: float) -> None:
    """The same for raw x, with codes in raw units: f / input_scale. Only for activation functions that keep a positive
    factor (ReLU, top-k); thresholds must be divided by input_scale too, unless they are in raw units already.

        z / input_scale = x W_enc + b_enc / input_scale
        x_hat = (f input_scale W_dec + b_dec) / output_scale      with f in raw units
    """
    tensors["b_enc"] = tensors["b_enc"] / input_scale
    tensors["W_dec"] = tensors["W_dec"] * (input_scale / output_scale)
    tensors["b_dec"] = tensors["b_dec"] / output_scale


def fold_decoder_norms(tensors: dict[str, Tensor]) -> None:
    """Gives every atom norm 1, and its norm to the feature's pre-activation, in place: x_hat stays as it is."""
    norms = tensors["W_dec"].norm(dim=1).clamp(min=1e-12)
    tensors["W_dec"] = tensors["W_dec"] / norms.unsqueeze(1)
    tensors["W_enc"] = tensors["W_enc"] * norms
    tensors["b_enc"] = tensors["b_enc"] * norms
