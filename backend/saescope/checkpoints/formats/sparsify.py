"""sparsify (EleutherAI; earlier `sae`): a folder with cfg.json and sae.safetensors, named after its hook point.

    h = x - b_dec (a transcoder: x),  f = top-k or group-max of ReLU(h encoder.weight^T + encoder.bias)
    x_hat = f W_dec + b_dec (+ x W_skip^T)

W_dec is stored [n_features, d_in], unlike encoder.weight, which is that of a torch Linear. b_dec is always subtracted,
except from a transcoder's input. `signed` of 2024 keeps the k largest by magnitude with their signs.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import layer_of, metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

CONFIG_NAME = "cfg.json"
WEIGHTS_NAME = "sae.safetensors"


def recognise(files: CheckpointFiles) -> bool:
    path = files.find(WEIGHTS_NAME) or files.spread
    return path is not None and {"encoder.weight", "W_dec"} <= set(files.content_or_nothing(path).tensors)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    path = files.find(WEIGHTS_NAME) or files.spread
    if path is None:
        raise CheckpointError(
            f"{WEIGHTS_NAME} is missing in {files.folder}", "a sparsify checkpoint holds it and cfg.json"
        )
    found = files.config(CONFIG_NAME)
    config = found or Config({}, CONFIG_NAME)
    d_in = config.whole("d_in")
    n_features = config.whole("num_latents", least=0) or (d_in or 0) * (config.whole("expansion_factor") or 0) or None
    transcode = config.flag("transcode")
    sizes = {"d_in": d_in, "n_features": n_features}
    weights = Weights(str(files.folder), files.content(path), sizes)
    tensors = {
        "W_enc": weights.take("encoder.weight", "n_features", "d_in").T,
        "b_enc": weights.take("encoder.bias", "n_features"),
        "W_dec": weights.take("W_dec", "n_features", "d_out" if transcode else "d_in"),
        "b_dec": weights.take("b_dec", "d_out" if transcode else "d_in"),
    }
    skip = weights.take_if_there("W_skip", "d_out" if transcode else "d_in", "d_in")
    weights.check()
    if skip is not None:
        tensors["W_skip"] = skip.T
    name = _architecture(config)
    k = assume.need("k", config.whole("k"), f"{CONFIG_NAME} of {files.folder}")
    sae = assemble(name, tensors, k=k, apply_b_dec_to_input=not transcode, transcoder=transcode, skip=skip is not None)
    notes = () if found else (f"{CONFIG_NAME} is missing: read as a TopK SAE of its input, no transcoder",)
    return Loaded(sae, _metadata(files, config), notes)


def _architecture(config: Config) -> str:
    activation = config.text("activation") or "topk"
    if activation not in ("topk", "groupmax"):
        raise config.refused("activation", "topk or groupmax")
    return "abstopk" if config.flag("signed") else activation


def _metadata(files: CheckpointFiles, config: Config) -> dict[str, Any]:
    """The hook is the folder's name; the training's config.json stands in the folder above."""
    hook = PurePath(files.origin.removesuffix(f"/{WEIGHTS_NAME}")).name
    if hook.startswith("seed"):
        hook = PurePath(files.origin).parent.name
    training = CheckpointFiles(files.folder.resolve().parent).config_or_nothing("config.json")
    layer = layer_of(hook)
    known = layer is not None or hook in ("embed_tokens", "wte")
    return metadata(
        model=training.text("model"),
        hook=hook if known else None,
        layer=layer,
        context_size=training.whole("ctx_len"),
        dataset=training.any("dataset"),
        original_config=config.values,
    )


FORMAT = CheckpointFormat("sparsify", recognise, load)
