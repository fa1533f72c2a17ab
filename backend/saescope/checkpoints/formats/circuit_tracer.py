"""circuit-tracer: the transcoder of one layer, `layer_N.safetensors`, with config.yaml beside it in a set.

    f = JumpReLU(x W_enc^T + b_enc), or without thresholds ReLU, or with `activation: topk` the k largest
    y = f W_dec + b_dec (+ x W_skip^T)

W_enc [n_features, d_in] is stored the other way round than here, W_dec [n_features, d_out] is not; W_skip is
[d_out, d_in]. config.yaml names the model and the places in each block that it reads and writes.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.content import read_yaml
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

CONFIG_NAMES = ("config.yaml", "config.yml")
THRESHOLD = "activation_function.threshold"

_FILE = re.compile(r"layer_(\d+)\.safetensors")
_REQUIRED = frozenset({"W_enc", "W_dec", "b_enc"})
_KNOWN = _REQUIRED | {"b_dec", "W_skip", THRESHOLD}
_CROSS_LAYER = re.compile(r"W_(?:enc|dec)_\d+\.safetensors")
_SITES = {"mlp.hook_out": "hook_mlp_out"}
"""circuit-tracer's names of places that TransformerLens has under another name."""


def recognise(files: CheckpointFiles) -> bool:
    tensors = files.single_content.tensors
    if files.single is not None and _CROSS_LAYER.fullmatch(files.single.name):
        return True
    if not (_REQUIRED <= set(tensors) <= _KNOWN) or not _has_a_row_per_feature(tensors):
        return False
    named = files.single is not None and _FILE.fullmatch(files.single.name) is not None
    a_row_each = tensors["W_enc"].shape[0] != tensors["W_enc"].shape[1]  # else names must say how it is stored
    return named or (a_row_each and ("W_skip" in tensors or THRESHOLD in tensors))


def _has_a_row_per_feature(tensors: dict[str, Tensor]) -> bool:
    n_features = tensors["b_enc"].shape[0] if tensors["b_enc"].ndim else -1
    return all(tensors[name].ndim == 2 and tensors[name].shape[0] == n_features for name in ("W_enc", "W_dec"))


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.single
    if path is None:
        raise CheckpointError(f"{files.path} holds no single layer", "give the file of one, layer_N.safetensors")
    content = files.content(path)
    if _CROSS_LAYER.fullmatch(path.name):
        raise CheckpointError(
            f"{path} is a part of a cross-layer transcoder, whose features write to several layers",
            "a transcoder of one layer can be read",
        )
    weights = Weights(str(path), content)
    tensors = {
        "W_enc": weights.take("W_enc", "n_features", "d_in").T,
        "b_enc": weights.take("b_enc", "n_features"),
        "W_dec": weights.take("W_dec", "n_features", "d_out"),
        "b_dec": weights.take("b_dec", "d_out"),
    }
    threshold = weights.take_if_there(THRESHOLD, "n_features")
    skip = weights.take_if_there("W_skip", "d_out", "d_in")
    weights.check()
    config = _config(files)
    fields: dict[str, Any] = {"transcoder": True, "skip": skip is not None}
    name = "relu"
    if threshold is not None:
        name, tensors["threshold"] = "jumprelu", threshold
    elif config.text("activation") == "topk":
        name, fields["k"] = "topk", assume.need("k", config.whole("k"), config.where)
    if skip is not None:
        tensors["W_skip"] = skip.T
    return Loaded(assemble(name, tensors, **fields), _metadata(config, path.name))


def _config(files: CheckpointFiles) -> Config:
    path = files.find(*CONFIG_NAMES)
    return Config({} if path is None else read_yaml(path), CONFIG_NAMES[0] if path is None else path.name)


def _metadata(config: Config, file: str) -> dict[str, Any]:
    named = _FILE.fullmatch(file)
    layer = None if named is None else int(named[1])
    hook, hook_out = config.text("feature_input_hook"), config.text("feature_output_hook")
    return metadata(
        model=config.text("model_name"),
        hook=_in_block(layer, hook),
        hook_out=_in_block(layer, hook_out),
        layer=layer,
        original_config=config.values,
    )


def _in_block(layer: int | None, site: str | None) -> str | None:
    return None if layer is None or site is None else f"blocks.{layer}.{_SITES.get(site, site)}"


FORMAT = CheckpointFormat("circuit_tracer", recognise, load)
