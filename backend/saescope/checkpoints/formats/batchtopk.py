"""The BatchTopK repository (Bussmann): `sae.pt` and config.json with sae_type, top_k, input_unit_norm, ...

    topk, batchtopk, vanilla: z = (x - b_dec) W_enc (vanilla: + b_enc)
    jumprelu: z = x W_enc + b_enc, thresholds exp(jumprelu.log_threshold)

TopK and BatchTopK have a b_enc that they do not use: it is left out. No threshold of BatchTopK is stored, so that the k
largest of each position are kept, unless `--assume threshold=T` gives one.
"""

from __future__ import annotations

from typing import Any

import torch

from saescope.autoencoders.batchtopk.module import UNCALIBRATED
from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

_TYPES = {"topk": "topk", "batchtopk": "batchtopk", "vanilla": "relu", "jumprelu": "jumprelu"}


def recognise(files: CheckpointFiles) -> bool:
    if "jumprelu.log_threshold" in files.single_content.tensors:
        return True
    config = files.config_or_nothing("config.json")
    return files.single is not None and all(name in config for name in ("sae_type", "dict_size", "act_size"))


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(
            f"{files.path} holds no single weights file", "the repository saves sae.pt beside config.json"
        )
    config = files.config("config.json")
    if config is None:
        raise CheckpointError(f"config.json is missing beside {files.single}", "it says which architecture this is")
    called = config.text("sae_type")
    if called not in _TYPES:
        raise config.refused("sae_type", "the name of an architecture", f"known: {', '.join(_TYPES)}")
    name = _TYPES[called]
    weights = Weights(
        str(files.single),
        files.content(files.single),
        {"d_in": config.whole("act_size"), "n_features": config.whole("dict_size")},
    )
    tensors = {
        "W_enc": weights.take("W_enc", "d_in", "n_features"),
        "W_dec": weights.take("W_dec", "n_features", "d_in"),
        "b_dec": weights.take("b_dec", "d_in"),
    }
    b_enc = weights.take("b_enc", "n_features")
    fields: dict[str, Any] = {"apply_b_dec_to_input": name != "jumprelu"}
    if name in ("relu", "jumprelu"):
        tensors["b_enc"] = b_enc
    else:
        fields["k"] = assume.need("k", config.whole("top_k"), config.where)
    if name == "jumprelu":
        tensors["threshold"] = torch.exp(weights.take("jumprelu.log_threshold", "n_features"))
    weights.ignore("num_batches_not_active")
    weights.check()
    notes: tuple[str, ...] = ()
    if name == "batchtopk":
        threshold = assume.get("threshold")
        if threshold is None:
            notes = ("no threshold is stored: the k largest of each position are kept instead",)
        tensors["threshold"] = torch.tensor(UNCALIBRATED if threshold is None else threshold)
    if config.flag("input_unit_norm"):
        fields["input_normalization"] = "layer_norm"
    found = metadata(
        model=config.text("model_name"),
        hook=config.text("hook_point"),
        layer=config.layer(),
        context_size=config.whole("seq_len"),
        dataset=config.any("dataset_path"),
        original_config=config.values,
    )
    return Loaded(assemble(name, tensors, **fields), found, notes)


FORMAT = CheckpointFormat("batchtopk", recognise, load)
