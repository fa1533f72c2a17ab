"""State dicts of nobody in particular: an encoder's and a decoder's matrix and their biases, by their usual names.

Tried last, where no other format fits. Shapes decide which way round a matrix is stored; where d_in = n_features, names
do (`.weight` is that of a torch Linear), and else `--assume transposed=...`. What a file does not record is assumed or
asked for:

* the activation function: thresholds [n_features] mean JumpReLU, a scalar one BatchTopK, `k` TopK; otherwise ReLU, with
  a note (`--assume activation=sigmoid` for KL-trained ones);
* subtraction of the decoder's bias: not with Linear layers; with a `b_pre` of its own, yes; with bare W_enc and W_dec
  it has to be said.

W_skip [d_out, d_in] makes it a transcoder with a skip path, whose output is x W_skip^T more.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions, need_tied
from saescope.checkpoints.formats.layers import is_deep, load_deep
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import layer_of, metadata
from saescope.checkpoints.scaling import fold_decoder_norms, scale_input
from saescope.checkpoints.tensors.content import Content
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

_MODULES = (
    ("encoder", "decoder"),
    ("enc", "dec"),
    ("encoder.0", "decoder"),
    ("encoder.0", "decoder.0"),
    ("encoder", "decoder.0"),
    ("0", "2"),
    ("0", "1"),
    ("lin_encoder", "lin_decoder"),
    ("fc1", "fc2"),
)
"""Names of pairs of Linear layers; `0` and `2` are those of nn.Sequential(Linear, activation, Linear)."""
_ENCODERS, _DECODERS = ("W_enc", "W_e", "w_enc"), ("W_dec", "W_d", "w_dec")
_ENCODER_BIASES, _DECODER_BIASES = ("b_enc", "b_e"), ("b_dec", "b_d", "bias", "decoder_bias")
_PRE_BIASES = ("b_pre", "pre_bias")
_HOOK = re.compile(r"(blocks-\d+-hook_\w+|[\w-]+-hook_\w+)\.")


class _Names(NamedTuple):
    """Which tensors are what; None where there is none."""

    encoder: str
    decoder: str | None
    b_enc: str | None
    b_dec: str | None
    b_pre: str | None
    linear: bool
    """Whether they are the weights of torch's Linear, stored [out, in]."""


def recognise(files: CheckpointFiles) -> bool:
    content, _ = _without_hook(files.single_content)
    tensors = content.tensors
    return _names(tensors) is not None or is_deep(tensors) or _decoder_alone(tensors) is not None


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file itself")
    where = str(files.single)
    content, hook = _without_hook(files.content(files.single))
    if is_deep(content.tensors):
        return load_deep(content, assume, where)
    names = _names(content.tensors)
    alone = _decoder_alone(content.tensors)
    if names is None and alone is not None:
        raise CheckpointError(
            f"{where} has a decoder ({alone}) but no encoder: {_counterpart(alone)} is missing",
            "give the folder, or the index, of all of the checkpoint's files",
        )
    if names is None:
        raise CheckpointError(
            f"{where} holds no encoder and decoder that are known by name: {', '.join(sorted(content.tensors)[:8])}",
            "known: encoder.weight and decoder.weight, or W_enc and W_dec, each with its bias",
        )
    weights = Weights(where, content)
    tensors, transcoder = _matrices(names, content.tensors, weights, assume, where)
    fields: dict[str, Any] = {"transcoder": transcoder, "skip": "W_skip" in tensors}
    running = weights.number("normalizer.running_avg")
    name, extra, notes = _activation(names, content, weights, assume, where)
    weights.ignore("stats_*", "*num_batches*", "n_forward_passes_since_fired", "*.num_batches_tracked")
    weights.check()
    tensors |= extra.pop("tensors")
    fields |= extra
    fields["apply_b_dec_to_input"] = not transcoder and _subtracts(names, tensors, assume, where)
    kind = assume.get("input_normalization")
    if kind is not None:
        fields["input_normalization"] = kind
    if hook is not None:  # e2e-sae divides the decoder's columns by their norms whenever it runs
        tensors["W_dec"] = tensors["W_dec"] / tensors["W_dec"].norm(dim=1, keepdim=True).clamp(min=1e-12)
    if running is not None:  # matryoshka-saes: codes carry the norms of atoms, inputs a running scale
        fold_decoder_norms(tensors)
        scale_input(tensors, math.sqrt(tensors["W_enc"].shape[0]) / running)
    scale = assume.get("input_scale")
    if scale is not None:
        scale_input(tensors, scale)
    found = metadata(hook=hook, layer=layer_of(hook))
    return Loaded(assemble(name, tensors, **fields), found, tuple(notes))


def _without_hook(content: Content) -> tuple[Content, str | None]:
    """Content without the hook's name that e2e-sae puts before every tensor, and that name."""
    found = {m[1] for name in content.tensors if (m := _HOOK.match(name)) is not None}
    if len(found) != 1 or not all(_HOOK.match(name) for name in content.tensors):
        return content, None
    prefix = found.pop()
    tensors = {name.removeprefix(f"{prefix}."): tensor for name, tensor in content.tensors.items()}
    return Content(tensors, content.values), prefix.replace("-", ".")


def _names(tensors: dict[str, Tensor]) -> _Names | None:
    def first(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in tensors), None)

    for encoder, decoder in _MODULES:
        if f"{encoder}.weight" not in tensors:
            continue
        has_decoder = f"{decoder}.weight" in tensors
        others = [n for n in tensors if n.endswith(".weight") and n not in (f"{encoder}.weight", f"{decoder}.weight")]
        if not has_decoder and others:
            continue
        return _Names(
            f"{encoder}.weight",
            f"{decoder}.weight" if has_decoder else None,
            first((f"{encoder}.bias", *_ENCODER_BIASES)),
            first((f"{decoder}.bias", *_DECODER_BIASES)),
            first(_PRE_BIASES),
            True,
        )
    encoder_name = first((*_ENCODERS, "W"))
    if encoder_name is None or tensors[encoder_name].ndim != 2:
        return None
    return _Names(
        encoder_name,
        first(_DECODERS),
        first((*_ENCODER_BIASES, "b")),
        first(_DECODER_BIASES),
        first(_PRE_BIASES),
        False,
    )


def _decoder_alone(tensors: dict[str, Tensor]) -> str | None:
    """The decoder's matrix of a file that has no encoder; None where there is none, or an encoder too."""
    decoders = (*_DECODERS, *(f"{decoder}.weight" for _, decoder in _MODULES if not decoder[0].isdigit()))
    return next((name for name in decoders if name in tensors), None) if _names(tensors) is None else None


def _counterpart(name: str) -> str:
    """What the matrix of the other side is called."""
    pairs = [(f"{encoder}.weight", f"{decoder}.weight") for encoder, decoder in _MODULES]
    pairs += list(zip(_ENCODERS, _DECODERS, strict=True))
    return next((one if name == other else other for one, other in pairs if name in (one, other)), "W_dec")


def _matrices(
    names: _Names, tensors: dict[str, Tensor], weights: Weights, assume: Assumptions, where: str
) -> tuple[dict[str, Tensor], bool]:
    """W_enc, W_dec and the biases, turned the right way round; whether they look like a transcoder's."""
    result: dict[str, Tensor] = {}
    if names.b_enc is not None:
        result["b_enc"] = weights.take(names.b_enc, "n_features")
    bias = names.b_dec or names.b_pre
    out = "d_out" if "W_skip" in tensors else "d_in"
    if bias is not None:
        result["b_dec"] = weights.take(bias, out)
    if names.b_dec is not None and names.b_pre is not None:
        pre = weights.take(names.b_pre, out)
        if not weights.faults and not torch.equal(pre, result["b_dec"]):
            raise CheckpointError(f"{where} has a {names.b_pre} for its input and another {names.b_dec} for its output")
    encoder = tensors[names.encoder]
    if encoder.ndim != 2:
        raise CheckpointError(f"{where}: {names.encoder} has shape {list(encoder.shape)}, expected two dimensions")
    n_features = len(result["b_enc"]) if "b_enc" in result else None
    d_in = len(result["b_dec"]) if "b_dec" in result and out == "d_in" else None
    rows = _is_features_by_inputs(encoder, n_features, d_in, names.linear, assume, where)
    enc = weights.take(names.encoder, *(("n_features", "d_in") if rows else ("d_in", "n_features")))
    result["W_enc"] = enc.T if rows else enc
    transcoder = False
    if names.decoder is None:
        need_tied(assume, where, names.encoder, _counterpart(names.encoder))
        result["W_dec"] = result["W_enc"].T
    else:
        shape = tuple(tensors[names.decoder].shape)
        square = len(shape) == 2 and shape[0] == shape[1]
        turned = rows if square else len(shape) == 2 and shape[1] == result["W_enc"].shape[1] != shape[0]
        dec = weights.take(names.decoder, *((out, "n_features") if turned else ("n_features", out)))
        result["W_dec"] = dec.T if turned else dec
        # transcoders of circuit-tracing repositories keep the encoder, and it alone, as [n_features, d_in]
        transcoder = rows and not turned and not names.linear
    skip = weights.take_if_there("W_skip", out, "d_in")
    if skip is not None:
        result["W_skip"], transcoder = skip.T, True
    if bias is None and not weights.faults:
        result["b_dec"] = torch.zeros(weights.size(out))
    return result, transcoder


def _is_features_by_inputs(
    encoder: Tensor, n_features: int | None, d_in: int | None, linear: bool, assume: Assumptions, where: str
) -> bool:
    """Whether the encoder's matrix is stored [n_features, d_in]."""
    a, b = encoder.shape
    if a == b:
        if linear:
            return True
        turned = assume.get("transposed")
        if turned is None:
            raise CheckpointError(
                f"{where}: the matrices are square, so that their shapes do not say which way round they are stored",
                "add --assume transposed=no for W_enc [d_in, n_features] and W_dec [n_features, d_in] (SAELens), or "
                "transposed=yes for the other way round (Qwen Scope); where both have a row per feature, "
                "--format circuit_tracer",
            )
        return bool(turned)
    if n_features in (a, b):
        return n_features == a
    if d_in in (a, b):
        return d_in == b
    return linear or a > b


def _activation(
    names: _Names, content: Content, weights: Weights, assume: Assumptions, where: str
) -> tuple[str, dict[str, Any], list[str]]:
    """The architecture, its fields and `tensors`, and notes."""
    tensors: dict[str, Tensor] = {}
    recognised, recorded_k, scalar = None, _recorded_k(content, weights), None
    logarithm = next((n for n in ("log_threshold", "jumprelu.log_threshold") if weights.has(n)), None)
    if logarithm is not None:
        recognised, tensors["threshold"] = "jumprelu", torch.exp(weights.take(logarithm, "n_features"))
    elif weights.has("threshold"):
        if content.tensors["threshold"].numel() == 1:
            recognised, scalar = "batchtopk", weights.number("threshold")
        else:
            recognised, tensors["threshold"] = "jumprelu", weights.take("threshold", "n_features")
    elif recorded_k is not None:
        recognised = "topk"
    name = assume.settle("activation", recognised, where)
    notes: list[str] = []
    if name is None:
        name = "relu"
        notes.append(
            f"{where} does not record what follows the encoder's linear map: read as ReLU. If FVU is bad, say what it "
            "is, e.g. --assume activation=topk --assume k=32, or --assume activation=sigmoid"
        )
    fields: dict[str, Any] = {"tensors": tensors}
    if name in ("topk", "abstopk", "batchtopk"):
        fields["k"] = assume.need("k", recorded_k, where)
    if name == "batchtopk":
        threshold = assume.settle("threshold", scalar, where)
        if threshold is None or threshold < 0:
            notes.append("the threshold was never calibrated: the k largest of each position are kept instead")
            threshold = -1.0
        tensors["threshold"] = torch.tensor(float(threshold))
    if name == "jumprelu" and "threshold" not in tensors:
        raise CheckpointError(f"{where} has no thresholds, which activation=jumprelu needs")
    return ("kl" if name == "sigmoid" else str(name)), fields, notes


def _recorded_k(content: Content, weights: Weights) -> int | None:
    found = weights.number("k")
    if found is None:
        found = next((content.values[n] for n in ("k", "top_k", "topk") if n in content.values), None)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return int(found)


def _subtracts(names: _Names, tensors: dict[str, Tensor], assume: Assumptions, where: str) -> bool:
    """Whether the decoder's bias is subtracted from the input."""
    assumed = assume.get("subtract_b_dec")
    if assumed is not None:
        return bool(assumed)
    if names.b_pre is not None:
        return True
    if names.linear or not bool(tensors["b_dec"].any()):
        return False
    raise CheckpointError(
        f"{where} may be read in two ways: with b_dec subtracted from the input (as SAELens' standard and TopK SAEs, "
        "saev 0.1 and the BatchTopK repository do), or not (as Gemma Scope, Qwen Scope and JumpReLU SAEs of "
        "dictionary_learning do)",
        "say which: --assume subtract_b_dec=yes or no (in Python: assume={'subtract_b_dec': True}), or name the "
        "library with --format",
    )


FORMAT = CheckpointFormat("plain", recognise, load, last_resort=True)
