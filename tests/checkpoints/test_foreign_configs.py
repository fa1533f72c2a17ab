"""Wrong types in any place of a foreign config are told, and never end in a traceback."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from saescope.checkpoints import load_sae
from saescope.checkpoints.conversion import convert
from saescope.store.errors import UserError
from tests.checkpoints.writing import D_IN, N_FEATURES, Matrices, draw, save_torch

M = Matrices()
WRONG: tuple[Any, ...] = (
    None,
    -1,
    0,
    2.5,
    1e300,
    10**30,
    True,
    "text",
    "",
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
    [[{"b": []}]],
)


def _saelens(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_file(M.bare(), folder / "sae_weights.safetensors")
    hook = {"hook_name": "blocks.1.hook_resid_post", "hook_head_index": None, "hook_layer": 1}
    run = {"model_name": "gpt2", "prepend_bos": True, "context_size": 64, "dataset_path": "x", "seqpos_slice": [None]}
    return folder / "cfg.json", {
        "architecture": "topk",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "k": 3,
        "d_in": D_IN,
        "d_sae": N_FEATURES,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "model_from_pretrained_kwargs": {"a": 1},
        "metadata": {**hook, **run},
        **hook,
        **run,
    }


def _matryoshka(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_file({**M.bare(), "topk_threshold": torch.tensor(0.1)}, folder / "sae_weights.safetensors")
    sizes = {"d_in": D_IN, "d_sae": N_FEATURES, "k": 3, "matryoshka_widths": [2, 5]}
    return folder / "cfg.json", {"architecture": "matryoshka_batchtopk", **sizes}


def _sparsify(folder: Path) -> tuple[Path, dict[str, Any]]:
    tensors = {"encoder.weight": M.W_enc.T.contiguous(), "encoder.bias": M.b_enc, "W_dec": M.W_dec, "b_dec": M.b_dec}
    save_file(tensors, folder / "sae.safetensors")
    config = {"activation": "topk", "expansion_factor": 2, "k": 3, "num_latents": N_FEATURES, "d_in": D_IN}
    return folder / "cfg.json", {**config, "signed": False, "transcode": False}


def _dictionary_learning(folder: Path) -> tuple[Path, dict[str, Any]]:
    state = {name: t for name, t in M.linears("encoder", "decoder").items() if name != "decoder.bias"}
    save_torch(folder, "ae.pt", {**state, "b_dec": M.b_dec})
    trainer = {"dict_class": "AutoEncoderTopK", "activation_dim": D_IN, "dict_size": N_FEATURES, "k": 3, "layer": 3}
    trainer |= {"lm_name": "gpt2", "submodule_name": "resid_post_layer_3"}
    return folder / "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}}


def _gemma_scope_2(folder: Path) -> tuple[Path, dict[str, Any]]:
    tensors = {name.lower(): tensor for name, tensor in M.bare().items()}
    save_file({**tensors, "threshold": draw(N_FEATURES).abs()}, folder / "params.safetensors")
    hooks = {"hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": "model.layers.3.output"}
    return folder / "config.json", {"architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt", **hooks}


def _llama_scope_2024(folder: Path) -> tuple[Path, dict[str, Any]]:
    (folder / "checkpoints").mkdir()
    save_file(M.linears("encoder", "decoder"), folder / "checkpoints" / "final.safetensors")
    return folder / "hyperparams.json", {
        "d_model": D_IN,
        "d_sae": N_FEATURES,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.2,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 2.0, "out": 2.0},
        "sparsity_include_decoder_norm": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "use_glu_encoder": False,
        "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
        "top_k": 3,
    }


def _llamascopium(folder: Path) -> tuple[Path, dict[str, Any]]:
    tensors = {"W_E": M.W_enc, "b_E": M.b_enc, "W_D": M.W_dec, "b_D": M.b_dec}
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder / "config.json", {
        "sae_type": "sae",
        "d_model": D_IN,
        "expansion_factor": 1.8,
        "d_sae": N_FEATURES,
        "act_fn": "topk",
        "top_k": 3,
        "norm_activation": "token-wise",
        "sparsity_include_decoder_norm": False,
        "hook_point_in": "blocks.3.hook_resid_post",
        "hook_point_out": "blocks.3.hook_resid_post",
        "model_name": "meta-llama/Llama-3.1-8B",
    }


def _batchtopk(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_torch(folder, "sae.pt", M.bare())
    config = {"sae_type": "topk", "act_size": D_IN, "dict_size": N_FEATURES, "top_k": 3, "input_unit_norm": True}
    return folder / "config.json", {
        **config,
        "layer": 8,
        "model_name": "gpt2",
        "hook_point": "resid_pre",
        "seq_len": 128,
    }


def _mistral(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_torch(folder, "sae.pt", {"w_enc": M.W_enc, "w_dec": M.W_dec, "b_enc": M.b_enc, "b_pre": M.b_dec})
    return folder / "config.json", {"k": 3, "top_k": 3}


def _native(folder: Path) -> tuple[Path, dict[str, Any]]:
    save_file(M.bare(), folder / "sae.safetensors")
    config = {"format": "saescope-sae", "format_version": 1, "architecture": "topk", "d_in": D_IN, "k": 3}
    return folder / "cfg.json", {**config, "n_features": N_FEATURES, "d_out": D_IN, "metadata": {}, "training": {}}


MAKERS: dict[str, Callable[[Path], tuple[Path, dict[str, Any]]]] = {
    "saelens": _saelens,
    "saelens-matryoshka": _matryoshka,
    "sparsify": _sparsify,
    "dictionary_learning": _dictionary_learning,
    "gemma_scope": _gemma_scope_2,
    "llama_scope-2024": _llama_scope_2024,
    "llamascopium": _llamascopium,
    "batchtopk": _batchtopk,
    "mistral": _mistral,
    "native": _native,
}


def places(config: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in config.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *inner) for inner in places(value))


def changed(config: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    result = copy.deepcopy(config)
    inner = result
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return result


@pytest.mark.parametrize("name", MAKERS)
def test_wrong_types_are_told_or_do_not_matter(tmp_path: Path, name: str) -> None:
    (tmp_path / "sae").mkdir()
    path, config = MAKERS[name](tmp_path / "sae")
    path.write_text(json.dumps(config))
    load_sae(tmp_path / "sae")
    n_refused = 0
    for number, (place, value) in enumerate((place, value) for place in places(config) for value in WRONG):
        path.write_text(json.dumps(changed(config, place, value)))
        try:
            convert(tmp_path / "sae", "saelens" if number % 2 else "native", tmp_path / f"out-{number}")
        except UserError:
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": ' * 50_000, b"\xff\xfe{", b"[]", b"9" * 5000, b'{"k": NaN']
)
def test_configs_that_are_no_object(tmp_path: Path, name: str, content: bytes) -> None:
    path, _ = MAKERS[name](tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError):
        load_sae(tmp_path)


def test_wrong_types_in_the_header_of_saev(tmp_path: Path) -> None:
    config = {"d_model": D_IN, "d_sae": N_FEATURES, "activation": {"cls": "TopK", "params": {"top_k": 3}}}
    header = {"schema": 3, "cls": "TopK", "cfg": {**config, "exp_factor": 2}}
    weights = io.BytesIO()
    torch.save(M.bare(), weights)
    path = tmp_path / "sae.pt"
    for place, value in ((place, value) for place in places(header) for value in WRONG):
        path.write_bytes(json.dumps(changed(header, place, value)).encode() + b"\n" + weights.getvalue())
        with suppress(UserError):
            load_sae(path)


def test_pipes_and_devices_are_no_checkpoints(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sae.safetensors")
    for path in (tmp_path / "sae.safetensors", Path("/dev/zero")):
        with pytest.raises(UserError, match="pipe or device"):
            load_sae(path)
    with pytest.raises(UserError):
        load_sae(tmp_path)
