"""Formats whose libraries are not on PyPI, or whose old files they no longer write: files made by hand, compared with
the formulas written out."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import CheckpointWarning, Loaded, load_checkpoint, load_sae
from saescope.store.errors import UserError
from tests.checkpoints.writing import (
    D_IN,
    N_FEATURES,
    Matrices,
    draw,
    inputs,
    layer_normed,
    save_json,
    save_torch,
    top,
)

M = Matrices()
X = inputs()


def agree(sae: Autoencoder, codes: Tensor, reconstruction: Tensor) -> None:
    out = sae(X)
    torch.testing.assert_close(out.codes, codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.reconstruction, reconstruction, rtol=1e-5, atol=1e-5)
    assert 0 < int((codes != 0).sum()) < codes.numel(), "the case says nothing"


def jump(z: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(z > threshold, z, 0.0)


def gemma_scope_1(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: t.numpy() for name, t in {**M.bare(), "threshold": draw(N_FEATURES, seed=5).abs()}.items()}
    np.savez(folder / "params.npz", **{**arrays, **changes})
    return folder


def test_gemma_scope_1(tmp_path: Path) -> None:
    folder = gemma_scope_1(tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71")
    loaded = load_checkpoint(folder)
    codes = jump(X @ M.W_enc + M.b_enc, draw(N_FEATURES, seed=5).abs())
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.format == "gemma_scope"
    assert loaded.metadata["model"] == "google/gemma-2-2b"
    assert loaded.metadata["hook"] == "blocks.20.hook_resid_post"
    assert loaded.metadata["layer"] == 20
    agree(load_sae(folder / "params.npz"), codes, codes @ M.W_dec + M.b_dec)


def test_gemma_scope_embeddings_are_scaled(tmp_path: Path) -> None:
    folder = gemma_scope_1(tmp_path / "embedding" / "width_4k" / "average_l0_6")
    root = math.sqrt(D_IN)
    codes = jump(X @ M.W_enc / root + M.b_enc, draw(N_FEATURES, seed=5).abs())
    agree(load_sae(folder), codes, codes @ M.W_dec * root + M.b_dec)
    plain = jump(X @ M.W_enc + M.b_enc, draw(N_FEATURES, seed=5).abs())
    agree(load_sae(folder, assume={"embedding": "no"}), plain, plain @ M.W_dec + M.b_dec)


def test_gemma_scope_transcoders_are_told_by_their_folder(tmp_path: Path) -> None:
    plain = gemma_scope_1(tmp_path / "transcoder-study" / "gemma-scope-2b-pt-res" / "layer_3" / "w" / "l0")
    assert not load_sae(plain).config.transcoder
    loaded = load_checkpoint(gemma_scope_1(tmp_path / "gemma-scope-2b-pt-transcoders" / "layer_3" / "w" / "l0"))
    assert loaded.sae.config.transcoder
    assert loaded.metadata["hook"] == "blocks.3.ln2.hook_normalized"
    assert loaded.metadata["hook_out"] == "blocks.3.hook_mlp_out"


@pytest.mark.parametrize("affine", [False, True])
def test_gemma_scope_2(tmp_path: Path, affine: bool) -> None:
    tensors = {name.lower(): t.clone() for name, t in M.bare().items()}
    tensors["threshold"] = draw(N_FEATURES, seed=5).abs()
    skip = draw(D_IN, D_IN, seed=6)
    config = {"architecture": "jump_relu", "model_name": "google/gemma-3-270m-pt"}
    config["hf_hook_point_in"] = "model.layers.5.output"
    if affine:
        tensors["affine_skip_connection"] = skip
        config["hf_hook_point_in"] = "model.layers.5.pre_feedforward_layernorm.output"
        config["hf_hook_point_out"] = "model.layers.5.post_feedforward_layernorm.output"
    save_file(tensors, tmp_path / "params.safetensors")
    save_json(tmp_path, "config.json", config)
    loaded = load_checkpoint(tmp_path)
    codes = jump(X @ M.W_enc + M.b_enc, tensors["threshold"])
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec + (X @ skip if affine else 0))
    assert loaded.sae.config.transcoder == affine
    assert loaded.metadata["layer"] == 5
    assert loaded.metadata["model"] == "google/gemma-3-270m-pt"


def test_a_gemma_scope_crosscoder_is_refused(tmp_path: Path) -> None:
    tensors = {name.lower(): t.clone() for name, t in M.bare().items()}
    tensors |= {"w_dec": draw(N_FEATURES, 3, D_IN), "threshold": draw(N_FEATURES)}
    save_file(tensors, tmp_path / "params.safetensors")
    with pytest.raises(UserError, match="several layers"):
        load_sae(tmp_path)


@pytest.mark.parametrize("activation", ["ReLU", "TopK"])
def test_openai(tmp_path: Path, activation: str) -> None:
    state: dict[str, Any] = {
        "pre_bias": M.b_dec,
        "latent_bias": M.b_enc,
        "encoder.weight": M.W_enc.T.contiguous(),
        "decoder.weight": M.W_dec.T.contiguous(),
        "stats_last_nonzero": torch.zeros(N_FEATURES, dtype=torch.long),
        "latents_activation_frequency": torch.ones(N_FEATURES, dtype=torch.long),
        "latents_mean_square": torch.zeros(N_FEATURES),
        "activation": activation,
    }
    if activation == "TopK":
        state["activation_state_dict"] = {"k": 3, "postact_fn": "ReLU"}
    path = save_torch(tmp_path / "gpt2-small" / "resid_post_mlp_v5_32k" / "autoencoders", "8.pt", state)
    loaded = load_checkpoint(path)
    if activation == "TopK":
        x, mean, deviation = layer_normed(X)
        codes = top((x - M.b_dec) @ M.W_enc + M.b_enc, 3)
        agree(loaded.sae, codes, (codes @ M.W_dec + M.b_dec) * deviation + mean)
    else:
        codes = ((X - M.b_dec) @ M.W_enc + M.b_enc).relu()
        agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.format == "openai"
    assert loaded.metadata["hook"] == "blocks.8.hook_resid_post"


def test_openai_tied(tmp_path: Path) -> None:
    state = {"pre_bias": M.b_dec, "latent_bias": M.b_enc, "encoder.weight": M.W_enc.T.contiguous()}
    codes = ((X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    again = {**state, "decoder.linear.weight": state["encoder.weight"]}  # as its tied decoder saves it
    for sae in (
        load_sae(save_torch(tmp_path / "a", "8.pt", again)),
        load_sae(save_torch(tmp_path / "b", "8.pt", state), assume={"tied": True}),
    ):
        agree(sae, codes, codes @ M.W_enc.T + M.b_dec)
    with pytest.raises(UserError, match=r"no decoder: decoder\.weight is missing(.|\n)*--assume tied=yes"):
        load_sae(tmp_path / "b" / "8.pt")


def llama_scope_2024(folder: Path, **changes: Any) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    save_file(M.linears("encoder", "decoder"), folder / "checkpoints" / "final.safetensors")
    config = {
        "d_model": D_IN,
        "d_sae": N_FEATURES,
        "hook_point_in": "blocks.15.hook_resid_post",
        "hook_point_out": "blocks.15.hook_resid_post",
        "act_fn": "jumprelu",
        "jump_relu_threshold": 1.5,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 4.0, "out": 4.0},
        "sparsity_include_decoder_norm": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "top_k": 3,
    }
    save_json(folder, "hyperparams.json", {**config, **changes})
    return folder


@pytest.mark.parametrize("include_norm", [True, False])
@pytest.mark.parametrize("activation", ["jumprelu", "topk"])
def test_llama_scope_2024(tmp_path: Path, include_norm: bool, activation: str) -> None:
    folder = tmp_path / "Llama3_1-8B-Base-L15R-8x"
    llama_scope_2024(folder, sparsity_include_decoder_norm=include_norm, act_fn=activation)
    loaded = load_checkpoint(folder)
    s = math.sqrt(D_IN) / 4.0
    norms = M.W_dec.norm(dim=1) if include_norm else torch.ones(N_FEATURES)
    z = (X @ M.W_enc + M.b_enc / s) * norms
    codes = top(z, 3) if activation == "topk" else torch.where(z > 1.5, z, 0.0)
    agree(loaded.sae, codes, (codes / norms) @ M.W_dec + M.b_dec / s)
    assert loaded.format == "llama_scope"
    assert loaded.metadata["model"] == "meta-llama/Llama-3.1-8B"
    assert loaded.metadata["layer"] == 15
    for inside in ("hyperparams.json", "checkpoints", "checkpoints/final.safetensors"):
        agree(load_sae(folder / inside), codes, (codes / norms) @ M.W_dec + M.b_dec / s)


@pytest.mark.parametrize("scaled", [True, False])
def test_llama_scope_r1_distill(tmp_path: Path, scaled: bool) -> None:
    logarithm = draw(N_FEATURES, seed=9) * 0.3
    save_file(
        {**M.linears("encoder", "decoder"), "log_jumprelu_threshold": logarithm}, tmp_path / "sae_weights.safetensors"
    )
    config = {"d_model": D_IN, "d_sae": N_FEATURES, "expansion_factor": 2, "act_fn": "jumprelu"}
    config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": False}
    save_json(tmp_path, "config.json", config)
    loaded = load_checkpoint(tmp_path, assume={"input_scale": 0.4} if scaled else None)
    s = 0.4 if scaled else 1.0
    codes = jump(s * X @ M.W_enc + M.b_enc, logarithm.exp())
    agree(loaded.sae, codes, (codes @ M.W_dec + M.b_dec) / s)
    assert bool(loaded.notes) == (not scaled)


def test_goodfire(tmp_path: Path) -> None:
    path = save_torch(
        tmp_path / "Llama-3.1-8B-Instruct-SAE-l19", "x.pth", M.linears("encoder_linear", "decoder_linear")
    )
    loaded = load_checkpoint(path)
    codes = (X @ M.W_enc + M.b_enc).relu()
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.format == "goodfire"
    assert loaded.metadata["hook"] == "model.layers.19"


def test_qwen_scope(tmp_path: Path) -> None:
    state = {"W_enc": M.W_enc.T.contiguous(), "W_dec": M.W_dec.T.contiguous(), "b_enc": M.b_enc, "b_dec": M.b_dec}
    path = save_torch(tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3", "layer7.sae.pt", state)
    loaded = load_checkpoint(path)
    codes = top(X @ M.W_enc + M.b_enc, 3)
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.metadata == {"model": "Qwen/Qwen3-1.7B-Base", "hook": "model.layers.7", "layer": 7}


def test_qwen_scope_without_its_repositorys_name(tmp_path: Path) -> None:
    state = {"W_enc": M.W_enc.T.contiguous(), "W_dec": M.W_dec.T.contiguous(), "b_enc": M.b_enc, "b_dec": M.b_dec}
    path = save_torch(tmp_path, "layer7.sae.pt", state)
    with pytest.raises(UserError, match=r"does not record k[\s\S]*--assume k=32"):
        load_sae(path)
    assert load_sae(path, assume={"k": 4}).config.k == 4


def saev(folder: Path, header: dict[str, Any], state: dict[str, Tensor]) -> Path:
    payload = io.BytesIO()
    torch.save(state, payload)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sae.pt").write_bytes(json.dumps(header).encode() + b"\n" + payload.getvalue())
    return folder / "sae.pt"


def cfg(cls: str, **params: Any) -> dict[str, Any]:
    return {"d_model": D_IN, "d_sae": N_FEATURES, "activation": {"cls": cls, "params": params}}


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5])
def test_saev_with_a_schema(tmp_path: Path, schema: int) -> None:
    path = saev(tmp_path, {"schema": schema, "cfg": cfg("Relu"), "commit": "abc", "lib": "saev"}, M.bare())
    codes = (X @ M.W_enc + M.b_enc).relu()
    loaded = load_checkpoint(path)
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.format == "saev"


def test_saev_schema_1_names_its_class(tmp_path: Path) -> None:
    header = {"schema": 1, "cls": "TopK", "cfg": {"d_vit": D_IN, "d_sae": N_FEATURES, "top_k": 3}}
    path = saev(tmp_path, header, M.bare())
    z = X @ M.W_enc + M.b_enc
    kept = torch.zeros_like(z).scatter(1, z.topk(3).indices, z.topk(3).values)
    agree(load_sae(path), kept, kept @ M.W_dec + M.b_dec)
    z = (X - M.b_dec) @ M.W_enc + M.b_enc
    kept = torch.zeros_like(z).scatter(1, z.topk(3).indices, z.topk(3).values)
    agree(load_sae(path, assume={"subtract_b_dec": "yes"}), kept, kept @ M.W_dec + M.b_dec)


def test_saev_top_k_keeps_signs(tmp_path: Path) -> None:
    path = saev(tmp_path, {"schema": 4, "cfg": cfg("TopK", top_k=7)}, M.bare())
    z = X @ M.W_enc + M.b_enc
    codes = torch.zeros_like(z).scatter(1, z.topk(7).indices, z.topk(7).values)
    assert bool((codes < 0).any())
    agree(load_sae(path), codes, codes @ M.W_dec + M.b_dec)


@pytest.mark.parametrize("threshold", [0.7, 0.0, -1.0])
def test_saev_batch_top_k(tmp_path: Path, threshold: float) -> None:
    state = {**M.bare(), "activation.threshold": torch.tensor(threshold)}
    path = saev(tmp_path, {"schema": 5, "cfg": cfg("BatchTopK", top_k=3)}, state)
    codes = jump(X @ M.W_enc + M.b_enc, torch.tensor(max(threshold, 0.0)))
    agree(load_sae(path), codes, codes @ M.W_dec + M.b_dec)


def test_saev_before_schemas(tmp_path: Path) -> None:
    header = {"d_vit": D_IN, "exp_factor": 2, "sparsity_coeff": 1e-4, "seed": 0}
    wide = Matrices(n_features=2 * D_IN)
    path = saev(tmp_path, header, wide.bare())
    s = 0.3
    codes = ((s * X - wide.b_dec) @ wide.W_enc + wide.b_enc).relu()
    agree(load_sae(path, assume={"input_scale": s}), codes, (codes @ wide.W_dec + wide.b_dec) / s)


def test_saev_of_the_future(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="schema 9"):
        load_sae(saev(tmp_path, {"schema": 9, "cfg": cfg("Relu")}, M.bare()))


@pytest.mark.parametrize("unit_norm", [False, True])
@pytest.mark.parametrize("kind", ["topk", "batchtopk", "vanilla", "jumprelu"])
def test_the_batchtopk_repository(tmp_path: Path, kind: str, unit_norm: bool) -> None:
    logarithm = draw(N_FEATURES, seed=9) * 0.3
    state = M.bare() | ({"jumprelu.log_threshold": logarithm} if kind == "jumprelu" else {})
    save_torch(tmp_path, "sae.pt", state | {"num_batches_not_active": torch.zeros(N_FEATURES)})
    config = {"sae_type": kind, "act_size": D_IN, "dict_size": N_FEATURES, "top_k": 3, "input_unit_norm": unit_norm}
    config |= {"hook_point": "blocks.8.hook_resid_pre", "model_name": "gpt2-small", "layer": 8}
    save_json(tmp_path, "config.json", config)
    loaded = load_checkpoint(tmp_path)
    x, mean, deviation = layer_normed(X) if unit_norm else (X, torch.tensor(0.0), torch.tensor(1.0))
    if kind == "jumprelu":
        codes = jump(x @ M.W_enc + M.b_enc, logarithm.exp())
    elif kind == "vanilla":
        codes = ((x - M.b_dec) @ M.W_enc + M.b_enc).relu()
    else:
        codes = top((x - M.b_dec) @ M.W_enc, 3)
    agree(loaded.sae, codes, (codes @ M.W_dec + M.b_dec) * deviation + mean)
    assert loaded.format == "batchtopk"
    assert loaded.metadata["hook"] == "blocks.8.hook_resid_pre"
    assert bool(loaded.notes) == (kind == "batchtopk")


def test_the_batchtopk_repository_with_a_threshold(tmp_path: Path) -> None:
    save_torch(tmp_path, "sae.pt", M.bare())
    save_json(tmp_path, "config.json", {"sae_type": "batchtopk", "act_size": D_IN, "dict_size": N_FEATURES, "top_k": 3})
    codes = jump((X - M.b_dec) @ M.W_enc, torch.tensor(0.6))
    agree(load_sae(tmp_path, assume={"threshold": 0.6}), codes, codes @ M.W_dec + M.b_dec)


def test_mistral_sae(tmp_path: Path) -> None:
    state = {"w_enc": M.W_enc, "w_dec": M.W_dec, "b_enc": M.b_enc, "b_pre": M.b_dec}
    path = save_torch(tmp_path, "sae.pt", state | {"stats_last_nonzero": torch.zeros(N_FEATURES)})
    with pytest.raises(UserError, match="does not record k"):
        load_sae(path)
    x, mean, deviation = layer_normed(X)
    codes = top((x - M.b_dec) @ M.W_enc + M.b_enc, 3)
    agree(load_sae(path, assume={"k": 3}), codes, (codes @ M.W_dec + M.b_dec) * deviation + mean)


def test_sparsify_of_2024_with_signs(tmp_path: Path) -> None:
    state = {"encoder.weight": M.W_enc.T.contiguous(), "encoder.bias": M.b_enc, "W_dec": M.W_dec, "b_dec": M.b_dec}
    folder = tmp_path / "layers.3"
    folder.mkdir()
    save_file(state, folder / "sae.safetensors")
    save_json(folder, "cfg.json", {"d_in": D_IN, "num_latents": N_FEATURES, "k": 3, "signed": True, "unknown": 1})
    save_json(tmp_path, "config.json", {"model": "EleutherAI/pythia-160m", "ctx_len": 2048})
    loaded = load_checkpoint(folder)
    z = (X - M.b_dec) @ M.W_enc + M.b_enc
    kept = z.abs().topk(3).indices
    codes = torch.zeros_like(z).scatter(1, kept, z.gather(1, kept))
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.metadata["hook"] == "layers.3"
    assert loaded.metadata["model"] == "EleutherAI/pythia-160m"


def plain(folder: Path, state: dict[str, Any], **assume: Any) -> Loaded:
    return load_checkpoint(save_torch(folder, "model.pt", state), assume=assume)


@pytest.mark.parametrize("names", [("enc", "dec"), ("encoder.0", "decoder"), ("0", "2"), ("module.enc", "module.dec")])
def test_linear_layers(tmp_path: Path, names: tuple[str, str]) -> None:
    loaded = plain(tmp_path, M.linears(*names))
    codes = (X @ M.W_enc + M.b_enc).relu()
    agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)
    assert loaded.format == "plain"
    assert "does not record" in loaded.notes[0]
    with pytest.warns(CheckpointWarning, match="read as ReLU"):
        load_sae(tmp_path / "model.pt")


def test_a_sequential_module_of_torch(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(D_IN, N_FEATURES), torch.nn.ReLU(), torch.nn.Linear(N_FEATURES, D_IN))
    loaded = plain(tmp_path, model.state_dict())
    with torch.no_grad():
        agree(loaded.sae, model[:2](X), model(X))


def test_wrapped_state_dicts(tmp_path: Path) -> None:
    for wrapper in ("state_dict", "model", "sae", "model_state_dict"):
        loaded = plain(tmp_path / wrapper, {wrapper: M.linears("enc", "dec"), "epoch": 3})
        codes = (X @ M.W_enc + M.b_enc).relu()
        agree(loaded.sae, codes, codes @ M.W_dec + M.b_dec)


def test_a_sigmoid_code(tmp_path: Path) -> None:
    loaded = plain(tmp_path, M.linears("encoder", "decoder"), activation="sigmoid")
    codes = torch.sigmoid(X @ M.W_enc + M.b_enc)
    out = loaded.sae(X)
    torch.testing.assert_close(out.codes, codes)
    torch.testing.assert_close(out.reconstruction, codes @ M.W_dec + M.b_dec)


def test_a_pre_bias_is_subtracted_and_added(tmp_path: Path) -> None:
    state = {"W_enc": M.W_enc, "W_dec": M.W_dec, "b_enc": M.b_enc, "b_pre": M.b_dec}
    codes = ((X - M.b_dec) @ M.W_enc + M.b_enc).relu()
    agree(plain(tmp_path, state).sae, codes, codes @ M.W_dec + M.b_dec)


def test_bare_matrices_have_to_be_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two ways[\s\S]*subtract_b_dec=yes"):
        plain(tmp_path, M.bare())
    for subtracts in (True, False):
        codes = ((X - M.b_dec * subtracts) @ M.W_enc + M.b_enc).relu()
        agree(plain(tmp_path, M.bare(), subtract_b_dec=subtracts).sae, codes, codes @ M.W_dec + M.b_dec)


def test_square_matrices_have_to_be_told_of(tmp_path: Path) -> None:
    square = Matrices(D_IN, D_IN)
    state = {**square.bare(), "b_dec": torch.zeros(D_IN)}
    with pytest.raises(UserError, match=r"square[\s\S]*transposed"):
        plain(tmp_path, state)
    codes = (X @ square.W_enc + square.b_enc).relu()
    agree(plain(tmp_path, state, transposed="no").sae, codes, codes @ square.W_dec)
    turned = {**state, "W_enc": square.W_enc.T.contiguous(), "W_dec": square.W_dec.T.contiguous()}
    agree(plain(tmp_path, turned, transposed="yes").sae, codes, codes @ square.W_dec)
    linears = square.linears("enc", "dec")
    agree(plain(tmp_path, linears).sae, codes, codes @ square.W_dec + square.b_dec)


def test_matrices_stored_the_other_way_round(tmp_path: Path) -> None:
    state = {**M.bare(), "W_enc": M.W_enc.T.contiguous(), "W_dec": M.W_dec.T.contiguous()}
    codes = (X @ M.W_enc + M.b_enc).relu()
    agree(plain(tmp_path, state, subtract_b_dec="no").sae, codes, codes @ M.W_dec + M.b_dec)


def test_a_transcoder_with_its_encoder_alone_turned(tmp_path: Path) -> None:
    save_file({**M.bare(), "W_enc": M.W_enc.T.contiguous()}, tmp_path / "layer_3.safetensors")
    sae = load_checkpoint(tmp_path).sae
    codes = (X @ M.W_enc + M.b_enc).relu()
    agree(sae, codes, codes @ M.W_dec + M.b_dec)
    assert sae.config.transcoder


@pytest.mark.parametrize("name", ["W", "encoder.weight"])
def test_tied_weights(tmp_path: Path, name: str) -> None:
    state = {name: M.W_enc if name == "W" else M.W_enc.T.contiguous(), "b_enc": M.b_enc}
    codes = (X @ M.W_enc + M.b_enc).relu()
    agree(plain(tmp_path, state, tied="true").sae, codes, codes @ M.W_enc.T)
    for assume in ({}, {"tied": "no"}):
        with pytest.raises(UserError, match=r"no decoder: \S+ is missing(.|\n)*--assume tied=yes"):
            plain(tmp_path, state, **assume)


def test_what_thresholds_say(tmp_path: Path) -> None:
    threshold = draw(N_FEATURES, seed=5).abs()
    codes = jump(X @ M.W_enc + M.b_enc, threshold)
    for state in ({"threshold": threshold}, {"log_threshold": threshold.log()}):
        agree(plain(tmp_path, M.bare() | state, subtract_b_dec=False).sae, codes, codes @ M.W_dec + M.b_dec)
    scalar = plain(tmp_path, M.bare() | {"threshold": torch.tensor(0.5), "k": torch.tensor(3)}, subtract_b_dec=False)
    codes = jump(X @ M.W_enc + M.b_enc, torch.tensor(0.5))
    agree(scalar.sae, codes, codes @ M.W_dec + M.b_dec)
    counted = plain(tmp_path, M.bare() | {"k": 3}, subtract_b_dec=False)
    codes = top(X @ M.W_enc + M.b_enc, 3)
    agree(counted.sae, codes, codes @ M.W_dec + M.b_dec)


def test_e2e_saes_normalise_their_decoder(tmp_path: Path) -> None:
    named = {f"blocks-6-hook_resid_pre.{n}": t for n, t in M.linears("encoder.0", "decoder").items()}
    loaded = plain(tmp_path, named)
    codes = (X @ M.W_enc + M.b_enc).relu()
    unit = M.W_dec / M.W_dec.norm(dim=1, keepdim=True)
    agree(loaded.sae, codes, codes @ unit + M.b_dec)
    assert loaded.metadata == {"hook": "blocks.6.hook_resid_pre", "layer": 6}


def test_several_layers_each_way(tmp_path: Path) -> None:
    torch.manual_seed(0)
    Linear, ReLU, Sequential = torch.nn.Linear, torch.nn.ReLU, torch.nn.Sequential
    encoder = Sequential(Linear(D_IN, 7), ReLU(), Linear(7, 20), ReLU())
    decoder = Sequential(Linear(20, 8), ReLU(), Linear(8, 6), ReLU(), Linear(6, D_IN))
    state = torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder}).state_dict()
    loaded = plain(tmp_path, state)
    assert loaded.sae.config.architecture == "deep"
    assert "between its layers" in loaded.notes[0]
    with torch.no_grad():
        agree(loaded.sae, encoder(X), decoder(encoder(X)))
        kept = top(encoder[:3](X), 4)
        agree(plain(tmp_path, state, activation="topk", k=4).sae, kept, decoder(kept))
        one = Sequential(Linear(20, D_IN))
        half = torch.nn.ModuleDict({"encoder": encoder, "decoder": one}).state_dict()
        agree(plain(tmp_path, half).sae, encoder(X), one(encoder(X)))


def test_layers_that_do_not_follow_each_other(tmp_path: Path) -> None:
    state = {f"{half}.{i}.weight": draw(4, 3, seed=i) for half in ("encoder", "decoder") for i in (0, 2)}
    with pytest.raises(UserError, match=r"encoder\.2\.weight has shape \[4, 3\], expected"):
        plain(tmp_path, state)
