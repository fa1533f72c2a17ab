"""SAELens (v3 to v6): a folder with cfg.json and sae_weights.safetensors.

Tensors stand in the project's own layout. Both ages of cfg.json are read: the flat one before v6, with its older names
of keys and activation functions, and that of v6 with `metadata`. What is folded in or rewritten on loading:

* `log_threshold` of JumpReLU training checkpoints becomes `threshold`.
* `finetuning_scaling_factor` (before v6; `scaling_factor` before v3) multiplies the rows of W_dec, which leaves the
  codes as they are.
* `normalize_activations` layer_norm and constant_norm_rescale become `input_normalization`.
* expected_average_only_in means that inputs were scaled in training. Before v6 training leaves it in cfg.json even at
  its end, when the scale is folded into the weights. From v5.2 on a file beside them holds the scale until then;
  without it the scale comes from outside (`--assume input_scale=S`).
* W_skip [d_out, d_in] is transposed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from saescope.autoencoders.batchtopk.module import UNCALIBRATED
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import layer_of, metadata
from saescope.checkpoints.scaling import scale_input
from saescope.checkpoints.tensors.content import read_json, read_safetensors
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae_weights.safetensors"
STATE_NAME = "activations_store_state.safetensors"
"""What training leaves beside them: in late v5 it holds the scale of inputs."""
SCALER_NAME = "activation_scaler.json"
"""What holds it in v6."""

_ARCHITECTURES = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "abstopk": "abstopk",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "matryoshka",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_REFUSED = {
    "matching_pursuit": "its encoder is an iteration, not a linear map",
    "temporal": "its encoder attends over the sequence, not a single position",
}
_NORMALIZATIONS = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "norm",
    "expected_average_only_in": "scale",
}
_TELLING = {"gated": ("b_gate", "r_mag", "b_mag"), "jumprelu": ("threshold",)}
"""Tensors that only these architectures have."""


def recognise(files: CheckpointFiles) -> bool:
    path = files.find(WEIGHTS_NAME) or files.spread
    if path is None:
        return False
    if path.name.startswith(WEIGHTS_NAME):
        return files.find(CONFIG_NAME) is not None or "W_dec" in files.content_or_nothing(path).tensors
    return "d_sae" in files.config_or_nothing(CONFIG_NAME)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path, raw = files.find(WEIGHTS_NAME) or files.spread, files.config(CONFIG_NAME)
    if path is None or raw is None:
        missing = CONFIG_NAME if raw is None else WEIGHTS_NAME
        raise CheckpointError(
            f"{missing} is missing in {files.folder}", f"a SAELens checkpoint holds {CONFIG_NAME} and {WEIGHTS_NAME}"
        )
    config = _upgraded(raw)
    name = _architecture(config, path)
    called = str(config.text("architecture"))
    transcoder = "transcoder" in called
    sizes = {"d_in": config.whole("d_in"), "n_features": config.whole("d_sae")}
    sizes["d_out"] = config.whole("d_out") if transcoder else sizes["d_in"]
    weights = Weights(str(files.folder), files.content(path), sizes)
    _check_kind(name, weights, called)
    tensors, fields, notes = _tensors(name, weights, config)
    finetuning = tensors.pop("finetuning_scale", None)
    fields["apply_b_dec_to_input"] = config.flag("apply_b_dec_to_input", True) and not transcoder
    fields["transcoder"] = transcoder
    notes += _normalise(tensors, fields, config, assume, files, transcoder)
    if finetuning is not None:
        tensors["W_dec"] = tensors["W_dec"] * finetuning.unsqueeze(1)
    return Loaded(assemble(name, tensors, **fields), _metadata(config, raw), tuple(notes))


def _upgraded(raw: Config) -> Config:
    """cfg.json in the words of v6."""
    config = dict(raw.values)
    for old, new in (
        ("hook_point", "hook_name"),
        ("hook_point_layer", "hook_layer"),
        ("hook_point_head_index", "hook_head_index"),
        ("activation_fn_str", "activation_fn"),
        ("context_length", "context_size"),
    ):
        if old in config:
            config.setdefault(new, config.pop(old))
    config.setdefault("architecture", "standard")
    if config.get("activation_fn") == "topk" and config["architecture"] in ("standard", "topk"):
        config["architecture"] = "topk"
        config.setdefault("k", raw.inner("activation_fn_kwargs").any("k"))
    normalize = config.get("normalize_activations")
    if normalize is None or normalize is False:
        config["normalize_activations"] = "none"
    elif normalize is True:
        config["normalize_activations"] = "expected_average_only_in"
    return Config(config, raw.where)


def _architecture(config: Config, path: Any) -> str:
    called = config.text("architecture")
    if called in _REFUSED:
        raise CheckpointError(f"{path}: a SAELens SAE of architecture {called} cannot be read: {_REFUSED[called]}")
    if called not in _ARCHITECTURES:
        raise CheckpointError(
            f"cfg.json has architecture {called!r}, which is none of SAELens'", f"known: {', '.join(_ARCHITECTURES)}"
        )
    own = "topk" if called == "topk" else "relu"
    activation = config.text("activation_fn") or own
    if called == "standard" and activation == "tanh-relu":
        return "tanhrelu"
    if activation != own:
        raise CheckpointError(
            f"cfg.json has architecture {called} with the activation function {activation!r}",
            "known: relu, topk and tanh-relu with standard, topk with topk, relu with the others",
        )
    return _ARCHITECTURES[called]


def _check_kind(name: str, weights: Weights, called: str) -> None:
    """Refuse weights that are those of another architecture than cfg.json says."""
    for kind, telling in _TELLING.items():
        if weights.has(*telling) and name not in (kind, "batchtopk", "matryoshka"):
            raise CheckpointError(
                f"cfg.json says architecture {called}, but {', '.join(telling)} are tensors of a {kind} SAE",
                "correct architecture in cfg.json",
            )


def _tensors(name: str, weights: Weights, config: Config) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    take, notes = weights.take, list[str]()
    tensors = {
        "W_enc": take("W_enc", "d_in", "n_features"),
        "W_dec": take("W_dec", "n_features", "d_out"),
        "b_dec": take("b_dec", "d_out"),
    }
    fields: dict[str, Any] = {}
    if name == "gated":
        tensors |= {each: take(each, "n_features") for each in ("b_gate", "r_mag", "b_mag")}
        weights.ignore("b_enc")
    else:
        b_enc = weights.take_if_there("b_enc", "n_features")
        if b_enc is not None:
            tensors["b_enc"] = b_enc
        elif name not in ("topk", "abstopk", "batchtopk", "matryoshka"):
            weights.faults.append("tensor b_enc is missing")
    if name == "jumprelu":
        logarithm = weights.take_if_there("log_threshold", "n_features")
        tensors["threshold"] = take("threshold", "n_features") if logarithm is None else torch.exp(logarithm)
    if name in ("batchtopk", "matryoshka"):
        threshold = weights.number("topk_threshold")
        threshold = UNCALIBRATED if threshold is None or threshold <= 0 else threshold
        if threshold < 0:
            notes.append("the threshold was never calibrated: the k largest of each position are kept instead")
        tensors["threshold"] = torch.tensor(threshold)
    if "skip" in str(config.text("architecture")):
        tensors["W_skip"] = take("W_skip", "d_out", "d_in").T
        fields["skip"] = True
    scale = weights.take_if_there("scaling_factor", "n_features")
    if scale is None:
        scale = weights.take_if_there("finetuning_scaling_factor", "n_features")
    weights.ignore("n_forward_passes_since_fired", "act_freq_scores")
    weights.check()
    if scale is not None and not torch.allclose(scale, torch.ones_like(scale)):
        if not config.any("finetuning_scaling_factor") and not config.any("finetuning_method"):
            raise CheckpointError(
                "scaling_factor is not 1 everywhere, but cfg.json does not say finetuning_scaling_factor"
            )
        tensors["finetuning_scale"] = scale
    if name in ("topk", "abstopk", "batchtopk", "matryoshka"):
        fields["k"] = _k(config, int(tensors["W_dec"].shape[0]))
        fields["rescale_by_decoder_norm"] = config.flag("rescale_acts_by_decoder_norm")
    if name == "matryoshka":
        widths = config.whole_list("matryoshka_widths")
        n_features = int(tensors["W_dec"].shape[0])
        widths += [] if widths and widths[-1] == n_features else [n_features]
        fields["group_sizes"] = tuple(b - a for a, b in zip([0, *widths], widths, strict=False))
    return tensors, fields, notes


def _k(config: Config, n_features: int) -> int:
    k = config.any("k")
    if isinstance(k, float) and str(config.text("architecture")).endswith("batchtopk"):
        return min(max(round(config.number("k") or 0), 1), n_features)  # a mean over positions need not be whole
    if k is None or isinstance(k, float):
        raise config.refused("k", "a whole number", "k is the number of features kept")
    return int(config.whole("k") or 0)


def _normalise(
    tensors: dict[str, Tensor],
    fields: dict[str, Any],
    config: Config,
    assume: Assumptions,
    files: CheckpointFiles,
    transcoder: bool,
) -> list[str]:
    """Brings in `normalize_activations`; returns notes."""
    kind = config.text("normalize_activations") or "none"
    if kind == "covariance_whitening":
        raise CheckpointError(
            "cfg.json says normalize_activations covariance_whitening: the whitening is not in the checkpoint",
            "save it with SAELens' save_inference_model, which folds the whitening into the weights",
        )
    if kind not in _NORMALIZATIONS:
        raise CheckpointError(f"cfg.json has normalize_activations {kind!r}", f"known: {', '.join(_NORMALIZATIONS)}")
    if kind in ("layer_norm", "constant_norm_rescale"):
        if transcoder:
            raise CheckpointError(f"a transcoder with normalize_activations {kind} has no defined output scale")
        fields["input_normalization"] = _NORMALIZATIONS[kind]
    if kind != "expected_average_only_in":
        return []
    recorded = None if transcoder else _scale_of_training(files, before_6="metadata" not in config)
    scale = None if transcoder else assume.settle("input_scale", recorded, "a file of its training")
    if scale == 1:
        return []
    if scale is None:
        return [
            "cfg.json says normalize_activations expected_average_only_in, whose scale is not in the checkpoint: raw "
            "activations go in unscaled, which is right where SAELens folded the scale into the weights at the end of "
            "training. If FVU is bad, give the scale: --assume input_scale=S, with S = sqrt(d_in) over the mean norm "
            "of the activations that it was trained on"
        ]
    scale_input(tensors, scale)
    if fields.get("rescale_by_decoder_norm") and float(tensors.get("threshold", torch.tensor(0.0))) > 0:
        tensors["threshold"] = tensors["threshold"] / scale  # it stands beside z times the atoms' norms
    return []


def _scale_of_training(files: CheckpointFiles, before_6: bool) -> float | None:
    """The scale of inputs in what training leaves beside the weights: 1 once it is folded into them, None where nothing
    tells."""
    path = files.folder / SCALER_NAME
    if path.is_file():
        scale = read_json(path).get("scaling_factor")
    else:
        path = files.folder / STATE_NAME
        if not path.is_file():
            return None
        state = Weights(str(path), read_safetensors(path))
        scale = state.number("estimated_norm_scaling_factor")
        state.ignore("*")
        state.check()
        if scale is None and not before_6:
            return None
    if scale is None:
        return 1.0
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise CheckpointError(f"{path} has the scale {scale!r}, expected a number above 0")
    return float(scale)


def _metadata(config: Config, raw: Config) -> dict[str, Any]:
    about = Config({**config.values, **config.inner("metadata").values}, config.where)
    hook = about.text("hook_name")
    layer = about.whole("hook_layer", least=-(2**31))  # 0 and negative ones stand for places outside the blocks
    return metadata(
        model=about.text("model_name"),
        hook=hook,
        hook_out=about.text("hook_name_out"),
        layer=layer_of(hook) if layer is None else layer,
        head=about.whole("hook_head_index", least=0),
        context_size=about.whole("context_size"),
        prepend_bos=about.flag("prepend_bos", True),
        dataset=about.any("dataset_path"),
        seqpos_slice=about.any("seqpos_slice"),
        exclude_special_tokens=about.any("exclude_special_tokens"),
        model_kwargs=about.any("model_from_pretrained_kwargs"),
        neuronpedia_id=about.any("neuronpedia_id"),
        original_config=raw.values,
    )


FORMAT = CheckpointFormat("saelens", recognise, load)
