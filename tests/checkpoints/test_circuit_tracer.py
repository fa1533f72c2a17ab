"""Transcoders of circuit-tracer against their formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from saescope.checkpoints import load_checkpoint, load_sae
from saescope.checkpoints.conversion import convert
from saescope.store.errors import UserError
from tests.checkpoints.writing import draw, top

D_IN, N_FEATURES = 6, 10
X = draw(20, D_IN, seed=7)
W_ENC, W_DEC = draw(N_FEATURES, D_IN, seed=1), draw(N_FEATURES, D_IN, seed=2)
B_ENC, B_DEC, W_SKIP = draw(N_FEATURES, seed=3), draw(D_IN, seed=4), draw(D_IN, D_IN, seed=5)
CONFIG = """model_name: google/gemma-2-2b
model_kind: transcoder_set
feature_input_hook: mlp.hook_in
feature_output_hook: mlp.hook_out
scan: gemma
transcoders: [layer_0.safetensors, layer_1.safetensors]
"""


def saved(folder: Path, layer: int = 4, **more: Tensor) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": W_ENC, "W_dec": W_DEC, "b_enc": B_ENC, "b_dec": B_DEC, **more}
    save_file(tensors, folder / f"layer_{layer}.safetensors")
    return folder / f"layer_{layer}.safetensors"


@pytest.mark.parametrize("threshold", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_values_and_the_way_to_native_and_saelens(tmp_path: Path, skip: bool, threshold: bool) -> None:
    thresholds = draw(N_FEATURES, seed=6).abs()
    more = ({"W_skip": W_SKIP} if skip else {}) | ({"activation_function.threshold": thresholds} if threshold else {})
    path = saved(tmp_path / "set", **more)
    z = X @ W_ENC.T + B_ENC
    codes = z * (z > thresholds) * (z > 0) if threshold else z.relu()
    expected = codes @ W_DEC + B_DEC + (X @ W_SKIP.T if skip else 0)
    loaded = load_checkpoint(path)
    assert (loaded.format, loaded.notes, loaded.metadata["layer"]) == ("circuit_tracer", (), 4)
    assert (loaded.sae.config.transcoder, loaded.sae.config.skip) == (True, skip)  # type: ignore[attr-defined]
    convert(path, "native", tmp_path / "native")
    convert(path, "saelens", tmp_path / "saelens")
    for sae in (loaded.sae, load_sae(tmp_path / "native"), load_sae(tmp_path / "saelens")):
        assert torch.allclose(sae(X).codes, codes, atol=1e-5)
        assert torch.allclose(sae(X).reconstruction, expected, atol=1e-4)


def test_config_yaml_names_the_model_and_the_places(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (tmp_path / "config.yaml").write_text(CONFIG)
    about = load_checkpoint(path).metadata
    assert (about["model"], about["layer"]) == ("google/gemma-2-2b", 4)
    assert (about["hook"], about["hook_out"]) == ("blocks.4.mlp.hook_in", "blocks.4.hook_mlp_out")
    (tmp_path / "config.yaml").write_text(CONFIG + "activation: topk\nk: 3\n")
    sae = load_sae(path)
    assert torch.allclose(sae(X).codes, top(X @ W_ENC.T + B_ENC, 3), atol=1e-5)


def test_a_set_is_told_to_choose_a_layer(tmp_path: Path) -> None:
    saved(tmp_path, 0)
    saved(tmp_path, 1)
    (tmp_path / "config.yaml").write_text(CONFIG)
    with pytest.raises(UserError, match=r"layer_0\.safetensors, layer_1\.safetensors(.|\n)*one of them"):
        load_sae(tmp_path)


def test_square_matrices_are_told_by_the_files_name(tmp_path: Path) -> None:
    n = 6
    square = {"W_enc": draw(n, n, seed=1), "W_dec": draw(n, n, seed=2), "b_enc": draw(n), "b_dec": draw(n, seed=1)}
    path = saved(tmp_path, **square, W_skip=W_SKIP)
    codes = (X @ square["W_enc"].T + square["b_enc"]).relu()
    expected = codes @ square["W_dec"] + square["b_dec"] + X @ W_SKIP.T
    assert torch.allclose(load_sae(path)(X).reconstruction, expected, atol=1e-4)


def test_a_skip_in_a_file_of_nobody_in_particular(tmp_path: Path) -> None:
    skip = draw(4, D_IN, seed=8)
    tensors = {"W_enc": W_ENC.T.contiguous(), "W_dec": draw(N_FEATURES, 4), "b_enc": B_ENC, "b_dec": draw(4)}
    save_file({**tensors, "W_skip": skip}, tmp_path / "transcoder.safetensors")
    loaded = load_checkpoint(tmp_path)
    codes = (X @ W_ENC.T + B_ENC).relu()
    expected = codes @ tensors["W_dec"] + tensors["b_dec"] + X @ skip.T
    assert loaded.format == "plain"
    assert torch.allclose(loaded.sae(X).reconstruction, expected, atol=1e-4)


def test_cross_layer_transcoders_are_refused(tmp_path: Path) -> None:
    save_file({"W_enc_3": W_ENC, "b_enc_3": B_ENC, "b_dec_3": B_DEC}, tmp_path / "W_enc_3.safetensors")
    with pytest.raises(UserError, match="cross-layer transcoder"):
        load_sae(tmp_path / "W_enc_3.safetensors")


@pytest.mark.parametrize(
    "text", ["[1, 2]", "a: [", "!!python/object/apply:os.system ['true']", "model_name: 5", "activation: topk", "\xff"]
)
def test_damaged_config_yaml(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path)
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError):
        load_sae(path)
