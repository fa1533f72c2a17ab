"""Corrections that apply to an SAE of any format: what was read wrongly, or recorded wrongly, put right by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.scaling import scale_input
from saescope.store.errors import CheckpointError

CORRECTIONS = (
    "subtract_b_dec",
    "input_scale",
    "input_normalization",
    "transposed",
    "b_dec_scale",
    "threshold_scale",
    "threshold_times_norm",
)
"""Assumptions that every format takes, in the order in which they are made: see `assumptions.MEANINGS`."""

_WIDTHS = ("d_in", "d_out", "n_features")


def corrected(sae: Autoencoder, wanted: Mapping[str, Any]) -> Autoencoder:
    """A copy of `sae` with these corrections; itself where there are none. `CheckpointError` where one does not
    apply."""
    if not wanted:
        return sae
    if not isinstance(sae, LinearAutoencoder):
        raise CheckpointError(f"{', '.join(wanted)} cannot be corrected: the SAE's encoder and decoder are not linear")
    fields = {name: v for name, v in dataclasses.asdict(sae.config).items() if name not in _WIDTHS}
    tensors = {name: t.detach().clone() for name, t in sae.tensors().items()}
    if wanted.get("transposed"):
        if sae.d_in != sae.n_features or sae.d_out != sae.d_in:
            raise CheckpointError(
                "transposed=yes is assumed, but the matrices are not square: their shapes say how they stand"
            )
        tensors["W_enc"], tensors["W_dec"] = tensors["W_enc"].T, tensors["W_dec"].T
    if "subtract_b_dec" in wanted:
        fields["apply_b_dec_to_input"] = wanted["subtract_b_dec"]
    if "input_normalization" in wanted:
        fields["input_normalization"] = wanted["input_normalization"]
    if "b_dec_scale" in wanted:
        tensors["b_dec"] = tensors["b_dec"] * wanted["b_dec_scale"]
    if "input_scale" in wanted:
        if sae.config.transcoder:
            raise CheckpointError("input_scale is assumed, but a transcoder's target has a scale of its own")
        scale_input(tensors, wanted["input_scale"])
        if sae.config.rescale_by_decoder_norm and "threshold" in tensors:
            tensors["threshold"] = tensors["threshold"] / wanted["input_scale"]
    for name in ("threshold_scale", "threshold_times_norm"):
        if name in wanted and "threshold" not in tensors:
            raise CheckpointError(f"{name} is assumed, but a {sae.config.architecture} SAE has no thresholds")
    if "threshold_scale" in wanted:
        tensors["threshold"] = tensors["threshold"] * wanted["threshold_scale"]
    if wanted.get("threshold_times_norm"):
        norms = torch.linalg.vector_norm(tensors["W_dec"], dim=1).clamp(min=1e-12)
        if tensors["threshold"].ndim == 0:
            raise CheckpointError("threshold_times_norm is assumed, but there is one threshold for all features")
        tensors["threshold"] = tensors["threshold"] / norms
    if fields.get("tied"):
        fields["tied"] = torch.equal(tensors["W_enc"], tensors["W_dec"].T)
    return assemble(sae.config.architecture, tensors, **fields)
