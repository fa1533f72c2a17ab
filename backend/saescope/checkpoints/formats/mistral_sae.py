"""mistral-sae: w_enc, w_dec, b_enc, b_pre, on inputs that are each normalised by their own mean and deviation.

    z = (x - b_pre) w_enc + b_enc,  f = ReLU of the k largest,  x_hat = f w_dec + b_pre

The file does not hold k.
"""

from __future__ import annotations

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError


def recognise(files: CheckpointFiles) -> bool:
    return {"w_enc", "w_dec", "b_enc", "b_pre"} <= set(files.single_content.tensors)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the file itself")
    content, config = files.content(files.single), files.config("config.json") or Config({}, "config.json")
    weights = Weights(str(files.single), content)
    tensors = {
        "W_enc": weights.take("w_enc", "d_in", "n_features"),
        "b_enc": weights.take("b_enc", "n_features"),
        "W_dec": weights.take("w_dec", "n_features", "d_in"),
        "b_dec": weights.take("b_pre", "d_in"),
    }
    weights.ignore("stats_last_nonzero")
    weights.check()
    recorded = Config({**config.values, **content.values}, str(files.single)).whole("k", "top_k")
    k = assume.need("k", recorded, str(files.single))
    sae = assemble("topk", tensors, k=k, apply_b_dec_to_input=True, input_normalization="layer_norm")
    return Loaded(sae, metadata(original_config=config.values))


FORMAT = CheckpointFormat("mistral_sae", recognise, load)
