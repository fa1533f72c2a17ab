"""Overcomplete: the state dict of an SAE, TopKSAE, BatchTopKSAE, JumpSAE or one of their archetypal (RA-) kin.

    f = activation(x encoder.weight^T + encoder.bias),  x_hat = f D          (there is no decoder bias)

The dictionary D comes from `dictionary._weights`, normalised atom by atom (its norm is not stored: l2, the library's
default, unless `--assume decoder_norm=...`), or from C, W and Relax (archetypal), times exp(multiplier). Only JumpSAE
can be told from its tensors (`thresholds`, the logarithms of what a pre-activation must reach); for the others say
`--assume activation=relu`, `topk` with k, or `batchtopk` with k and the attribute running_threshold as threshold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saescope.autoencoders.batchtopk.module import UNCALIBRATED
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions, how_to_assume
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

DELTA = 1.0
"""Largest norm of a row of Relax, the library's default: it is not stored."""
BATCH_NORM_EPSILON = 1e-5
"""Of torch's BatchNorm1d."""


def recognise(files: CheckpointFiles) -> bool:
    names = set(files.single_content.tensors)
    return "dictionary._weights" in names or {"dictionary.C", "dictionary.W", "dictionary.Relax"} <= names


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file itself")
    content = files.content(files.single)
    if any(name.startswith("encoder.mlp_blocks") for name in content.tensors):
        raise CheckpointError(f"{files.single} has an encoder of several layers", "the encoder 'linear' can be read")
    weights = Weights(str(files.single), content)
    prefix = next((p for p in ("encoder.final_block.0", "encoder") if weights.has(f"{p}.weight")), None)
    if prefix is None:
        raise CheckpointError(f"{files.single} has no linear encoder", "the encoder 'linear' can be read")
    tensors = {
        "W_enc": weights.take(f"{prefix}.weight", "n_features", "d_in").T,
        "b_enc": weights.take(f"{prefix}.bias", "n_features"),
    }
    scale, shift = _batch_norm(weights, str(files.single))
    dictionary = _dictionary(weights, assume)
    logarithms = weights.take_if_there("thresholds", "n_features")
    weights.check()
    if scale is not None and shift is not None:
        tensors["W_enc"] = tensors["W_enc"] * scale
        tensors["b_enc"] = tensors["b_enc"] * scale + shift
    tensors["W_dec"] = dictionary()
    tensors["b_dec"] = torch.zeros(weights.size("d_in"))
    return _with_activation(tensors, logarithms, assume, str(files.single))


def _with_activation(tensors: dict[str, Tensor], logarithms: Tensor | None, assume: Assumptions, where: str) -> Loaded:
    if logarithms is not None:
        tensors["threshold"] = _just_below(torch.exp(logarithms))
        return Loaded(assemble("jumprelu", tensors))
    activation = assume.get("activation")
    if activation not in ("relu", "topk", "batchtopk"):
        raise CheckpointError(
            f"{where} may hold an SAE (ReLU), a TopKSAE or a BatchTopKSAE of Overcomplete: their tensors have the same "
            "names",
            how_to_assume("activation") + " or relu or batchtopk, and k=K where it has one",
        )
    fields: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if activation != "relu":
        fields["k"] = assume.need("k", None, where)
    if activation == "batchtopk":
        threshold = assume.get("threshold")
        if threshold is None:
            notes = ("no threshold is stored: the k largest of each position are kept instead",)
            threshold = UNCALIBRATED
        tensors["threshold"] = _just_below(torch.tensor(threshold)) if threshold > 0 else torch.tensor(threshold)
    return Loaded(assemble(str(activation), tensors, **fields), {}, notes)


def _just_below(threshold: Tensor) -> Tensor:
    """The largest numbers below: the library lets pass what equals its threshold."""
    return torch.nextafter(threshold, torch.full_like(threshold, -torch.inf))


def _batch_norm(weights: Weights, where: str) -> tuple[Tensor | None, Tensor | None]:
    """What a BatchNorm after the linear map multiplies and adds, in evaluation."""
    name = "encoder.final_block.1"
    gamma = weights.take_if_there(f"{name}.weight", "n_features")
    beta = weights.take_if_there(f"{name}.bias", "n_features")
    mean = weights.take_if_there(f"{name}.running_mean", "n_features")
    variance = weights.take_if_there(f"{name}.running_var", "n_features")
    weights.ignore(f"{name}.num_batches_tracked")
    if gamma is None and beta is None:
        return None, None
    if mean is None or variance is None:
        raise CheckpointError(
            f"{where} has a LayerNorm over features in its encoder", "the encoder 'linear' can be read"
        )
    if gamma is None or beta is None or weights.faults:
        weights.check()
        raise CheckpointError(f"{where}: the normalisation of its encoder is not complete")
    scale = gamma / torch.sqrt(variance + BATCH_NORM_EPSILON)
    return scale, beta - mean * scale


def _dictionary(weights: Weights, assume: Assumptions) -> Any:
    """Takes the dictionary's tensors; returns what computes D from them once they are checked."""
    multiplier = weights.number("dictionary.multiplier") or 0.0
    factor = torch.exp(torch.tensor(multiplier))
    if weights.has("dictionary.C"):
        C = weights.take("dictionary.C", "n_points", "d_in")
        W = weights.take("dictionary.W", "n_features", "n_points")
        relax = weights.take("dictionary.Relax", "n_features", "d_in")

        def archetypal() -> Tensor:
            rows = torch.relu(W)
            rows = rows / (rows.sum(1, keepdim=True) + 1e-8)
            norms = relax.norm(dim=1, keepdim=True)
            return (rows @ C + relax * torch.clamp(DELTA / norms, max=1).nan_to_num(1.0)) * factor

        return archetypal
    rows = weights.take("dictionary._weights", "n_features", "d_in")
    kind = assume.get("decoder_norm") or "l2"

    def normalised() -> Tensor:
        if kind == "identity":
            return rows * factor
        norms = rows.norm(p=1 if kind.endswith("l1") else 2, dim=1, keepdim=True)
        return rows / (norms.amax() if kind.startswith("max") else norms + 1e-8) * factor

    return normalised


FORMAT = CheckpointFormat("overcomplete", recognise, load)
