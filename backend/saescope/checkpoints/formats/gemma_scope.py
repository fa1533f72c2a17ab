"""Gemma Scope 1 and 2: JumpReLU SAEs and transcoders whose training normalisation is folded in already.

* Gemma Scope 1: `params.npz` with W_enc, W_dec, b_enc, b_dec, threshold, and no config: model, site and layer are told
  from the path (`gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71`).
* Gemma Scope 2: `params.safetensors` with lower-case names, perhaps `affine_skip_connection`, and perhaps config.json.

b_dec is not subtracted from the input. SAEs of the token embedding were trained on embeddings that Gemma had not yet
multiplied by sqrt(d_in): W_enc is divided and W_dec multiplied by that factor here, so that they apply to activations
of the embedding as the model has them. b_dec stays, as in SAELens.
"""

from __future__ import annotations

import math
import re
from typing import Any

from torch import Tensor

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import layer_of, metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

FIRST, SECOND = "params.npz", "params.safetensors"

_SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}


def recognise(files: CheckpointFiles) -> bool:
    if files.find(FIRST) is not None:
        return True
    path = files.find(SECOND) or files.single
    return {"w_enc", "w_dec", "threshold"} <= set(files.content_or_nothing(path).tensors)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.find(FIRST, SECOND) or files.single
    if path is None:
        raise CheckpointError(f"{files.path} has no {FIRST} (Gemma Scope 1) and no {SECOND} (Gemma Scope 2)")
    weights = Weights(str(path), files.content(path))
    lower = not weights.has("W_enc")
    _refuse_several_layers(path, files.content(path).tensors)
    sizes = {"W_enc": ("d_in", "n_features"), "W_dec": ("n_features", "d_out"), "b_enc": ("n_features",)}
    sizes |= {"b_dec": ("d_out",), "threshold": ("n_features",)}
    tensors = {name: weights.take(name.lower() if lower else name, *size) for name, size in sizes.items()}
    skip = weights.take_if_there("affine_skip_connection", "d_in", "d_out")
    weights.check()
    config = (files.config("config.json") if lower else None) or Config({}, "config.json")
    embedding = assume.get("embedding")
    if embedding is None:
        embedding = not lower and files.is_inside("embedding")
    if embedding:
        root = math.sqrt(weights.size("d_in"))
        tensors["W_enc"], tensors["W_dec"] = tensors["W_enc"] / root, tensors["W_dec"] * root
    if skip is not None:
        tensors["W_skip"] = skip
    found = _second_metadata(config, files.origin) if lower else _first_metadata(files.origin, bool(embedding))
    transcoder = files.is_inside("(.*-)?transcoders?(_all)?") or skip is not None or _has_two_hooks(config)
    return Loaded(assemble("jumprelu", tensors, skip=skip is not None, transcoder=transcoder), found)


def _refuse_several_layers(path: Any, tensors: dict[str, Tensor]) -> None:
    several = next((t for n, t in tensors.items() if n.lower() == "w_dec" and t.ndim == 3), None)
    if several is not None:
        raise CheckpointError(
            f"{path} is a cross-layer transcoder or crosscoder: its w_dec has shape {list(several.shape)}, an atom for "
            "each of several layers",
            "an SAE or transcoder of one layer can be read",
        )


def _has_two_hooks(config: Config) -> bool:
    hook_out = config.text("hf_hook_point_out")
    return hook_out is not None and hook_out != config.text("hf_hook_point_in")


def _first_metadata(origin: str, embedding: bool) -> dict[str, Any]:
    family = re.search(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)", origin)
    layer = layer_of(origin)
    model = None
    if family is not None:
        model = f"google/gemma-2-{family[1]}{'-it' if family[2] == 'it' else ''}"
    hook = hook_out = None
    if embedding:
        hook = "hook_embed"
    elif family is not None and layer is not None:
        if family[3] == "transcoders":
            hook, hook_out = f"blocks.{layer}.ln2.hook_normalized", f"blocks.{layer}.hook_mlp_out"
        else:
            hook = f"blocks.{layer}.{_SITES[family[3]]}"
    return metadata(model=model, hook=hook, hook_out=hook_out, layer=layer, prepend_bos=True)


def _second_metadata(config: Config, origin: str) -> dict[str, Any]:
    hook, hook_out = config.text("hf_hook_point_in"), config.text("hf_hook_point_out")
    layer = layer_of(hook) if hook else layer_of(origin)
    if not hook and layer is not None:
        sites = {"resid_post": "output", "attn_out": "self_attn.o_proj.input"}
        sites["mlp_out"] = "post_feedforward_layernorm.output"
        site = next((path for name, path in sites.items() if f"{name}/" in origin or f"{name}_all/" in origin), None)
        hook = f"model.layers.{layer}.{site}" if site else None
    family = re.search(r"gemma-scope-2-(\d+[mb])-(pt|it)", origin)
    model = config.text("model_name") or (f"google/gemma-3-{family[1]}-{family[2]}" if family else None)
    return metadata(
        model=model,
        hook=hook,
        hook_out=hook_out if _has_two_hooks(config) else None,
        layer=layer,
        prepend_bos=True,
        original_config=config.values,
    )


FORMAT = CheckpointFormat("gemma_scope", recognise, load)
