"""OpenAI's sparse_autoencoder: one .pt file with pre_bias, latent_bias, encoder.weight, decoder.weight and the name of
the activation function.

    z = (x - pre_bias) encoder.weight^T + latent_bias,  x_hat = f decoder.weight^T + pre_bias

SAEs with the activation function TopK see each input normalised by its own mean and deviation; those with ReLU do not.
"""

from __future__ import annotations

import re
from typing import Any

from saescope.checkpoints.assembly import assemble
from saescope.checkpoints.assumptions import Assumptions, need_tied
from saescope.checkpoints.config import Config
from saescope.checkpoints.formats.protocol import CheckpointFormat, Loaded
from saescope.checkpoints.metadata import metadata
from saescope.checkpoints.tensors.files import CheckpointFiles
from saescope.checkpoints.tensors.weights import Weights
from saescope.store.errors import CheckpointError

_HOOKS = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_mlp": "hook_resid_post",
}


def recognise(files: CheckpointFiles) -> bool:
    return {"pre_bias", "latent_bias", "encoder.weight"} <= set(files.single_content.tensors)


def load(files: CheckpointFiles, assume: Assumptions) -> Loaded:
    if files.single is None:
        raise CheckpointError(f"{files.path} holds no single weights file", "give the .pt file itself")
    content = files.content(files.single)
    weights = Weights(str(files.single), content)
    encoder = weights.take("encoder.weight", "n_features", "d_in")
    if weights.has("decoder.weight"):
        decoder = weights.take("decoder.weight", "d_in", "n_features").T
    elif weights.has("decoder.linear.weight"):  # its tied decoder is a view of the encoder, saved again
        decoder = weights.take("decoder.linear.weight", "n_features", "d_in")
    else:
        need_tied(assume, str(files.single), "encoder.weight", "decoder.weight")
        decoder = encoder
    tensors = {
        "W_enc": encoder.T,
        "b_enc": weights.take("latent_bias", "n_features"),
        "W_dec": decoder,
        "b_dec": weights.take("pre_bias", "d_in"),
    }
    weights.ignore("stats_last_nonzero", "latents_*", "decoder.linear.weight")
    weights.check()
    values = Config(content.values, str(files.single))
    activation = values.text("activation") or "ReLU"
    fields: dict[str, Any] = {"apply_b_dec_to_input": True}
    if activation == "TopK":
        state = values.inner("activation_state_dict")
        fields["k"] = assume.need("k", state.whole("k"), str(files.single))
        post = state.text("postact_fn") or "ReLU"
        if post not in ("ReLU", "Identity"):
            raise CheckpointError(f"{files.single} has the function {post!r} after its top-k", "known: ReLU, Identity")
        if post == "Identity":
            fields["signed"] = True
        fields["input_normalization"] = "layer_norm"
        name = "topk"
    elif activation == "ReLU":
        name = "relu"
    else:
        raise CheckpointError(f"{files.single} has the activation function {activation!r}", "known: ReLU, TopK")
    return Loaded(assemble(name, tensors, **fields), _metadata(files.origin))


def _metadata(origin: str) -> dict[str, Any]:
    """gpt2-small/resid_post_mlp_v5_32k/autoencoders/8.pt"""
    found = re.search(rf"({'|'.join(_HOOKS)})(?:_v\d+_\d+k)?[/\\]autoencoders[/\\](\d+)\.pt$", origin)
    if found is None:
        return {}
    layer = int(found[2])
    return metadata(model="gpt2", hook=f"blocks.{layer}.{_HOOKS[found[1]]}", layer=layer, context_size=64)


FORMAT = CheckpointFormat("openai", recognise, load)
