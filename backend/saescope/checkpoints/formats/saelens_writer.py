"""Writing SAELens' format, as its version 6 reads it.

| here | SAELens |
|---|---|
| relu | standard, or transcoder and skip_transcoder |
| jumprelu | jumprelu, or jumprelu_transcoder and jumprelu_skip_transcoder |
| topk, abstopk, gated | the same |
| pca, ica, neurons | abstopk |
| batchtopk, matryoshka | jumprelu with one threshold for all, as SAELens exports its own; uncalibrated ones topk |

All tensors stay as they are, so codes are bitwise the same; only where features are judged by the norms of their atoms
and SAELens has no flag for that (thresholds), the norms are folded into the encoder. The metadata is what its
ActivationsStore.from_sae needs to read activations for the SAE: what is not known has the library's default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from saescope.autoencoders.abstopk.module import AbstopkAutoencoder
from saescope.autoencoders.batchtopk.module import BatchtopkAutoencoder
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.formats.saelens import CONFIG_NAME, WEIGHTS_NAME
from saescope.checkpoints.scaling import fold_decoder_norms
from saescope.store import atomic
from saescope.store.errors import CheckpointError

SAELENS_VERSION = "6.0.0"
"""The version whose format this is: SAELens reads files that name none, or an earlier one, by older rules."""

_NAMES = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk", "abstopk": "abstopk", "gated": "gated"}
_TRANSCODERS = {"relu": "transcoder", "jumprelu": "jumprelu_transcoder"}
_NORMALIZATIONS = {"none": "none", "layer_norm": "layer_norm", "norm": "constant_norm_rescale"}
_BLOCK = re.compile(r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.output)?")
"""Path of a whole block in transformers, whose output is the residual stream after it."""
_UNKNOWN: dict[str, Any] = {
    "model_name": None,
    "model_class_name": "HookedTransformer",
    "model_from_pretrained_kwargs": {},
    "hook_name": None,
    "hook_head_index": None,
    "context_size": 128,
    "prepend_bos": True,
    "dataset_path": None,
    "seqpos_slice": [None],
    "exclude_special_tokens": False,
}
_METADATA = {
    "model": "model_name",
    "hook": "hook_name",
    "hook_out": "hook_name_out",
    "head": "hook_head_index",
    "context_size": "context_size",
    "prepend_bos": "prepend_bos",
    "dataset": "dataset_path",
    "seqpos_slice": "seqpos_slice",
    "exclude_special_tokens": "exclude_special_tokens",
    "model_kwargs": "model_from_pretrained_kwargs",
    "neuronpedia_id": "neuronpedia_id",
}


def save(sae: Autoencoder, folder: Path, metadata: dict[str, Any]) -> None:
    """Writes cfg.json and sae_weights.safetensors to an existing folder. Raises `CheckpointError` where SAELens has no
    architecture that computes the same."""
    name, tensors, fields = _translated(sae)
    with atomic.replacing(folder / WEIGHTS_NAME) as temporary:
        save_file({key: t.detach().to("cpu", torch.float32).contiguous() for key, t in tensors.items()}, temporary)
    config = {
        "architecture": name,
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "reshape_activations": "none",
        **fields,
        "metadata": _metadata(metadata),
    }
    atomic.write_text(folder / CONFIG_NAME, json.dumps(config, indent=2, allow_nan=False) + "\n")


def _metadata(known: Mapping[str, Any]) -> dict[str, Any]:
    """What SAELens asks for where it reads activations by itself; what is not known as SAELens has it by default."""
    about = {theirs: known[ours] for ours, theirs in _METADATA.items() if ours in known}
    found = {"sae_lens_version": SAELENS_VERSION, "sae_lens_training_version": None, **_UNKNOWN, **about}
    for name in ("hook_name", "hook_name_out"):
        block = _BLOCK.fullmatch(str(found.get(name)))
        if block is not None:  # the library reads TransformerLens' names
            found |= {name: f"blocks.{block[1]}.hook_resid_post"}
            found |= {"hf_hook_name": about[name]} if name == "hook_name" else {}
    return found


def _translated(sae: Autoencoder) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """SAELens' architecture, its tensors and its fields."""
    c = sae.config
    if not isinstance(sae, LinearAutoencoder):
        raise _impossible(c.architecture, "its encoder and decoder are not linear")
    config, kind = sae.config, c.architecture
    tensors = {name: t.detach() for name, t in sae.tensors().items()}
    if getattr(config, "signed", False):
        raise _impossible(kind, "it keeps negative values among its k largest")
    if getattr(config, "selects_by_contribution", False):
        raise _impossible(kind, "its features compete by what they add, with codes that leave it out")
    rescaled = config.rescale_by_decoder_norm
    fields: dict[str, Any] = {}
    if isinstance(sae, AbstopkAutoencoder):
        kind = "abstopk"  # of whatever name: pca, ica and neurons too
    if isinstance(sae, BatchtopkAutoencoder):
        threshold = tensors.pop("threshold")
        kind = "jumprelu" if sae.is_calibrated else "topk"
        if sae.is_calibrated:
            tensors["threshold"] = threshold.expand(config.n_features).clone()
    if kind not in _NAMES:
        raise _impossible(kind, "it has no such activation function")
    if kind in ("topk", "abstopk"):
        fields |= {"k": getattr(config, "k"), "rescale_acts_by_decoder_norm": rescaled}  # noqa: B009 - of its kind alone
    elif rescaled:
        fold_decoder_norms(tensors)
    name = _NAMES[kind]
    if config.transcoder or config.skip:
        name = _transcoder(kind, sae)
        fields["d_out"] = config.d_out
        if config.skip:
            tensors["W_skip"] = tensors["W_skip"].T
    fields["apply_b_dec_to_input"] = config.apply_b_dec_to_input
    fields["normalize_activations"] = _NORMALIZATIONS[config.input_normalization]
    return name, tensors, fields


def _transcoder(kind: str, sae: LinearAutoencoder) -> str:
    config = sae.config
    if kind not in _TRANSCODERS:
        raise _impossible(kind, "its transcoders are ReLU or JumpReLU")
    if config.apply_b_dec_to_input:
        raise _impossible(kind, "its skip connections go with transcoders, which do not subtract b_dec")
    if config.input_normalization != "none":
        raise _impossible(kind, "its transcoders do not undo a normalisation of the input")
    name = _TRANSCODERS[kind]
    return name.replace("transcoder", "skip_transcoder") if config.skip else name


def _impossible(kind: str, why: str) -> CheckpointError:
    return CheckpointError(f"SAELens has nothing that computes the same as this {kind} SAE: {why}", "use --to native")
