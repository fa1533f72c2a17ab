"""Llama Scope and OpenMOSS' Language-Model-SAEs / llamascopium, in their three layouts.

* 2024 (Llama Scope): hyperparams.json and checkpoints/final.safetensors with encoder.weight, decoder.weight, ...
  As its own loader does, codes are taken to raw units: with s = sqrt(d_in) / dataset_average_activation_norm,
  b_enc / s_in, b_dec / s_out, W_dec s_in / s_out; then, with sparsity_include_decoder_norm, atoms get norm 1 and their
  norms go into the encoder. jump_relu_threshold is in those units: it stands beside z in raw units times the norm.
* 2025 (R1-Distill): config.json and sae_weights.safetensors with encoder.weight, ..., log_jumprelu_threshold.
* now: config.json and sae_weights.safetensors with W_E, b_E, W_D, b_D, activation_function.log_jumprelu_threshold.
  In these two, codes stay in the units of training: the data set's scale goes into W_enc, W_dec and b_dec.

With sparsity_include_decoder_norm a feature passes where z times the norm of its atom does, while its code is z. The
decoder's bias is not subtracted from the input, except where apply_decoder_bias_to_pre_encoder says so.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import layer_of, metadata
from saescope.checkpoints.scaling import fold_decoder_norms, scale_codes, scale_input
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

FIRST_CONFIG, FIRST_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
CONFIG_NAME = "config.json"
WEIGHTS_NAMES = ("sae_weights.safetensors", "sae_weights.pt")

_NORMS = "dataset_average_activation_norm"


def recognise(files: CheckpointFiles) -> bool:
    if _first(files) is not None:
        return True
    path = files.find(*WEIGHTS_NAMES)
    if path is None:
        return False
    config = files.config_or_nothing(CONFIG_NAME)
    if "d_model" in config and "expansion_factor" in config:
        return True
    names = files.content_or_nothing(path).tensors
    return files.find("cfg.json", CONFIG_NAME) is None and ("W_D" in names or "decoder.weight" in names)


def _first(files: CheckpointFiles) -> tuple[Path, CheckpointFiles] | None:
    """The weights of the layout of 2024, and the files of the folder that its config belongs in."""
    above = CheckpointFiles(files.folder.parent, files.origin) if files.folder.name == "checkpoints" else files
    weights = above.folder / FIRST_WEIGHTS
    return (weights, above) if weights.is_file() else None


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    first = _first(files)
    if first is not None:
        return _load_first(*first)
    path, config = files.find(*WEIGHTS_NAMES), files.config(CONFIG_NAME)
    if path is None or config is None:
        missing = CONFIG_NAME if path is not None else WEIGHTS_NAMES[0]
        raise CheckpointError(
            f"{missing} is missing in {files.folder}",
            f"a checkpoint holds {CONFIG_NAME} and {WEIGHTS_NAMES[0]}, or (2024) {FIRST_CONFIG} and {FIRST_WEIGHTS}",
        )
    return _load_later(path, config, files, assume)


def _load_first(path: Path, files: CheckpointFiles) -> Loaded:
    config = files.config(FIRST_CONFIG)
    if config is None:
        raise CheckpointError(f"{FIRST_CONFIG} is missing beside {path}", "it has the scales and the threshold")
    if config.flag("use_glu_encoder"):
        raise CheckpointError(f"{FIRST_CONFIG} says use_glu_encoder: a gated linear encoder is no linear map")
    weights = Weights(
        str(path), files.content(path), {"d_in": config.whole("d_model"), "n_features": config.whole("d_sae")}
    )
    tensors = _of_linears(weights)
    weights.check()
    norms = config.inner(_NORMS)
    kind = config.text("norm_activation") or "dataset-wise"
    fields: dict[str, Any] = {"apply_b_dec_to_input": config.flag("apply_decoder_bias_to_pre_encoder")}
    if kind == "dataset-wise":
        scales = [_scale(norms.number(name), weights.size("d_in"), f"{_NORMS}.{name}") for name in ("in", "out")]
        if fields["apply_b_dec_to_input"] and scales[0] != scales[1]:
            raise CheckpointError(f"{FIRST_CONFIG} subtracts the decoder's bias from inputs of another scale")
        scale_codes(tensors, *scales)
    elif kind == "token-wise":
        fields["input_normalization"] = "norm"
    elif kind != "inference":
        raise CheckpointError(
            f"{FIRST_CONFIG} has norm_activation {kind!r}", "known: dataset-wise, token-wise, inference"
        )
    if config.flag("sparsity_include_decoder_norm"):
        fold_decoder_norms(tensors)
    activation = (config.text("act_fn") or "jumprelu").lower()
    if activation == "jumprelu":
        threshold = config.number("jump_relu_threshold")
        if threshold is None:
            raise config.refused("jump_relu_threshold", "a number")
        tensors["threshold"] = torch.full((weights.size("n_features"),), threshold)
    elif activation == "topk":
        fields["k"] = _k(config)
    elif activation != "relu":
        raise CheckpointError(f"{FIRST_CONFIG} has act_fn {activation!r}", "known: jumprelu, topk, relu")
    hook_in, hook_out = config.text("hook_point_in"), config.text("hook_point_out")
    fields["transcoder"] = hook_out not in (None, hook_in)
    return Loaded(assemble(activation, tensors, **fields), _metadata(config, files.origin))


def _load_later(path: Path, config: Config, files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if config.any("sae_type") not in (None, "sae"):
        raise config.refused("sae_type", "sae", "an SAE or transcoder of one layer can be read")
    if config.flag("use_glu_encoder"):
        raise CheckpointError(f"{CONFIG_NAME} says use_glu_encoder: a gated linear encoder is no linear map")
    d_in = config.whole("d_model")
    n_features = config.whole("d_sae") or int((d_in or 0) * (config.number("expansion_factor") or 0)) or None
    content = files.content(path)
    weights = Weights(str(path), content, {"d_in": d_in, "n_features": n_features})
    if weights.has("W_E"):
        tensors = {
            "W_enc": weights.take("W_E", "d_in", "n_features"),
            "b_enc": weights.take("b_E", "n_features"),
            "W_dec": weights.take("W_D", "n_features", "d_in"),
        }
        b_dec = weights.take_if_there("b_D", "d_in")
        tensors["b_dec"] = torch.zeros(weights.size("d_in")) if b_dec is None else b_dec
        logarithm = weights.take_if_there("activation_function.log_jumprelu_threshold", "n_features")
    else:
        tensors = _of_linears(weights)
        logarithm = weights.take_if_there("log_jumprelu_threshold", "n_features")
    norms = {
        name.removeprefix(f"{_NORMS}."): weights.number(name) for name in content.tensors if name.startswith(_NORMS)
    }
    weights.check()
    activation = (config.text("act_fn") or "relu").lower()
    by_norm = config.flag("sparsity_include_decoder_norm", True)
    notes: list[str] = []
    fields: dict[str, Any] = {"apply_b_dec_to_input": config.flag("apply_decoder_bias_to_pre_encoder")}
    if activation == "jumprelu":
        if logarithm is None:
            raise CheckpointError(f"{path} has no thresholds, but {CONFIG_NAME} says act_fn jumprelu")
        tensors["threshold"] = torch.exp(logarithm)
        if by_norm:
            tensors["threshold"] = tensors["threshold"] / tensors["W_dec"].norm(dim=1).clamp(min=1e-12)
    elif activation in ("topk", "batchtopk"):
        fields |= {"k": _k(config), "selects_by_contribution": by_norm}
        if activation == "batchtopk":
            notes.append("a batchtopk without a threshold: the k largest of each position are kept instead")
        activation = "topk"
    elif activation != "relu":
        raise CheckpointError(f"{CONFIG_NAME} has act_fn {activation!r}", "known: relu, jumprelu, topk, batchtopk")
    hook_in, hook_out = config.text("hook_point_in"), config.text("hook_point_out")
    fields["transcoder"] = hook_out not in (None, hook_in)
    notes += _normalise(tensors, fields, config, norms, assume, weights.size("d_in"))
    return Loaded(assemble(activation, tensors, **fields), _metadata(config, files.origin), tuple(notes))


def _normalise(
    tensors: dict[str, Tensor],
    fields: dict[str, Any],
    config: Config,
    norms: dict[str, float | None],
    assume: Assumptions,
    d_in: int,
) -> list[str]:
    """Brings in `norm_activation`; returns notes."""
    kind = config.text("norm_activation") or "dataset-wise"
    if kind == "inference":
        return []
    if kind == "token-wise":
        if fields["transcoder"]:
            raise CheckpointError(
                "a transcoder with norm_activation token-wise needs the target's own norm at its output"
            )
        fields["input_normalization"] = "norm"
        return []
    if kind != "dataset-wise":
        raise CheckpointError(
            f"{CONFIG_NAME} has norm_activation {kind!r}: a code would depend on its batch",
            "known: dataset-wise, token-wise, inference",
        )
    hook_in, hook_out = config.text("hook_point_in"), config.text("hook_point_out")
    norm_in = norms.get(str(hook_in), norms.get("in"))
    norm_out = norms.get(str(hook_out), norms.get("out"))
    assumed: Any = assume.get("input_scale") if norm_in is None else None
    if norm_in is None and assumed is None:
        return [
            "norm_activation is dataset-wise, but the data set's norm is not in the checkpoint: raw activations go in "
            "unscaled. If FVU is bad, give the scale: --assume input_scale=S, with S = sqrt(d_in) over the mean norm "
            "of the activations that it was trained on"
        ]
    s_in: float = assumed if norm_in is None else _scale(norm_in, d_in, f"{_NORMS}.{hook_in}")
    s_out = s_in if norm_out is None else _scale(norm_out, d_in, f"{_NORMS}.{hook_out}")
    b_dec, W_dec = tensors["b_dec"], tensors["W_dec"]
    scale_input(tensors, s_in)
    tensors["W_dec"], tensors["b_dec"] = W_dec / s_out, b_dec / s_out
    if fields["apply_b_dec_to_input"] and s_in != s_out:
        raise CheckpointError(f"{CONFIG_NAME} subtracts the decoder's bias from inputs of another scale")
    return []


def _k(config: Config) -> int:
    k = config.whole("top_k")
    if k is None:
        raise config.refused("top_k", "a whole number, at least 1", "it is how many features are kept")
    return k


def _scale(norm: float | None, d_in: int, where: str) -> float:
    if norm is None or norm <= 0:
        raise CheckpointError(f"{where} is {norm!r}, expected the mean norm of the activations, above 0")
    return math.sqrt(d_in) / norm


def _of_linears(weights: Weights) -> dict[str, Tensor]:
    tensors = {
        "W_enc": weights.take("encoder.weight", "n_features", "d_in").T,
        "b_enc": weights.take("encoder.bias", "n_features"),
        "W_dec": weights.take("decoder.weight", "d_in", "n_features").T,
    }
    b_dec = weights.take_if_there("decoder.bias", "d_in")
    if b_dec is None and not weights.faults:
        b_dec = torch.zeros(weights.size("d_in"))
    return tensors | ({} if b_dec is None else {"b_dec": b_dec})


def _metadata(config: Config, origin: str) -> dict[str, Any]:
    hook = config.text("hook_point_in")
    llama = re.search(r"Llama3_1-8B|Llama-Scope", origin)
    hook_out = config.text("hook_point_out")
    return metadata(
        model=config.text("model_name", "model") or ("meta-llama/Llama-3.1-8B" if llama else None),
        hook=hook,
        hook_out=hook_out if hook_out != hook else None,
        layer=layer_of(hook),
        original_config=config.values,
    )


FORMAT = CheckpointFormat("llama_scope", recognise, load)
