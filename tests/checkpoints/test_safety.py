"""Checkpoints that are hostile or damaged: nothing in them runs, nothing grows without bounds, and each is refused with
one clear message."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saescope.checkpoints import load_checkpoint, load_sae
from saescope.checkpoints.tensors.content import read_weights
from saescope.store.errors import FaultsError, UserError
from tests.checkpoints.writing import D_IN, N_FEATURES, Matrices, draw, save_json, save_torch

M = Matrices()


class Intruder:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o755)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "trap"
    state = {**M.linears("encoder", "decoder"), "extra": Intruder(trap)}
    torch.save(state, tmp_path / "ae.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"mkdir: loading it would run code") as caught:
        load_sae(tmp_path / "ae.pt")
    assert "state_dict()" in str(caught.value.hint)
    assert not trap.exists()
    with pytest.raises(UserError, match="would run code"):
        load_sae(tmp_path, format="dictionary_learning")
    assert not trap.exists()


def test_a_whole_module_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(3, 4), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear[\s\S]*state_dict\(\)"):
        load_sae(tmp_path / "model.pt")


def test_a_bare_pickle(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "sae.pt").write_bytes(pickle.dumps({"W_enc": Intruder(trap)}))
    with pytest.raises(UserError, match=r"torch\.save did not write: it could run code") as refused:
        load_sae(tmp_path / "sae.pt")
    assert "likely succeed" not in str(refused.value)  # torch's own advice
    assert not trap.exists()


def test_a_pickle_behind_saevs_header(tmp_path: Path) -> None:
    trap, payload = tmp_path / "trap", io.BytesIO()
    torch.save({**M.bare(), "extra": Intruder(trap)}, payload)
    header = {"d_vit": D_IN, "d_sae": N_FEATURES}
    (tmp_path / "sae.pt").write_bytes(json.dumps(header).encode() + b"\n" + payload.getvalue())
    with pytest.raises(UserError, match="would run code"):
        load_sae(tmp_path / "sae.pt")
    assert not trap.exists()


def test_objects_in_an_npz(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    np.savez(tmp_path / "params.npz", W_enc=np.array([Intruder(trap)], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        load_sae(tmp_path)
    assert not trap.exists()


def test_a_torchscript_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(UserError, match="TorchScript"):
        load_sae(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["ae.pt", "sae.pth", "params.npz", "sae.safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 30, -40])
def test_truncated_files(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    if name.endswith("npz"):
        np.savez(path, **{key: t.numpy() for key, t in M.bare().items()})
    elif name.endswith("safetensors"):
        save_file(M.linears("encoder", "decoder"), path)
    else:
        torch.save(M.linears("encoder", "decoder"), path)
    load_checkpoint(path, format="plain", assume={"subtract_b_dec": True} if name.endswith("npz") else None)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError) as caught:
        load_sae(path, format="plain")
    assert name in str(caught.value)


def test_a_compressed_archive_that_grows_without_bounds(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "params.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("W_enc.npy", "w", force_zip64=True) as file,
    ):
        block = bytes(2**24)
        for _ in range(20):
            file.write(block)
    assert (tmp_path / "params.npz").stat().st_size < 2**20
    with pytest.raises(UserError, match="unpacks to"):
        load_sae(tmp_path)


def test_an_array_with_a_huge_declared_shape(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**5)})
    with zipfile.ZipFile(tmp_path / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", buffer.getvalue())
    with pytest.raises(UserError, match=r"W_enc"):
        load_sae(tmp_path)


def test_a_tensor_that_is_larger_than_its_file(tmp_path: Path) -> None:
    state = {**M.linears("encoder", "decoder"), "encoder.weight": torch.zeros(1).expand(10**5, 10**5)}
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(UserError, match="the file holds only"):
        load_sae(tmp_path / "ae.pt")


def test_a_safetensors_header_with_huge_shapes(tmp_path: Path) -> None:
    header = json.dumps({"W_enc": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}).encode()
    (tmp_path / "sae.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match=r"sae\.safetensors does not fit the file"):
        read_weights(tmp_path / "sae.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = M.linears("encoder", "decoder")
    state["decoder.weight"][1, 2] = value
    with pytest.raises(FaultsError, match=r"decoder.weight has 1 values that are NaN or infinite"):
        load_sae(save_torch(tmp_path, "ae.pt", state))


def test_all_faults_of_shapes_at_once(tmp_path: Path) -> None:
    state = M.linears("encoder_linear", "decoder_linear")
    state["encoder_linear.bias"], state["decoder_linear.bias"] = draw(4), draw(3)
    state["surprise"] = draw(2)
    with pytest.raises(FaultsError) as caught:
        load_sae(save_torch(tmp_path, "sae.pth", state))
    assert caught.value.faults == (
        f"encoder_linear.bias has shape [4], expected [{N_FEATURES}]",
        f"decoder_linear.bias has shape [3], expected [{D_IN}]",
        "unknown tensor surprise",
    )


def test_tensors_of_the_wrong_type(tmp_path: Path) -> None:
    state = {**M.linears("encoder", "decoder"), "encoder.bias": torch.zeros(N_FEATURES, dtype=torch.int64)}
    with pytest.raises(UserError, match="type int64"):
        load_sae(save_torch(tmp_path, "ae.pt", state))
    state["encoder.bias"] = draw(N_FEATURES).to_sparse()
    with pytest.raises(UserError, match="sparse"):
        load_sae(save_torch(tmp_path, "ae.pt", state))


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "sae.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="no weights file"):
        load_sae(tmp_path / "sae.pt")
    save_torch(tmp_path, "one.pt", torch.zeros(3))
    with pytest.raises(UserError, match="single tensor"):
        load_sae(tmp_path / "one.pt")
    save_torch(tmp_path, "list.pt", [1, 2])
    with pytest.raises(UserError, match="holds a list"):
        load_sae(tmp_path / "list.pt")
    save_torch(tmp_path, "other.pt", {"conv.weight": torch.zeros(3, 3)})
    with pytest.raises(UserError, match=r"its tensors are conv\.weight"):
        load_sae(tmp_path / "other.pt")


def saelens(folder: Path, config: dict[str, Any], **tensors: torch.Tensor) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**M.bare(), **tensors}, folder / "sae_weights.safetensors")
    save_json(folder, "cfg.json", {"d_in": D_IN, "d_sae": N_FEATURES, **config})
    return folder


def test_a_gated_file_called_standard(tmp_path: Path) -> None:
    gated = {name: draw(N_FEATURES) for name in ("b_gate", "r_mag", "b_mag")}
    with pytest.raises(UserError, match=r"cfg\.json says architecture standard, but .* tensors of a gated SAE"):
        load_sae(saelens(tmp_path, {"architecture": "standard"}, **gated))
    with pytest.raises(UserError, match="tensors of a jumprelu SAE"):
        load_sae(saelens(tmp_path / "j", {"architecture": "standard"}, threshold=draw(N_FEATURES)))


def test_a_missing_config(tmp_path: Path) -> None:
    saelens(tmp_path, {})
    (tmp_path / "cfg.json").unlink()
    for format in ("saelens", None):
        with pytest.raises(UserError, match=r"cfg\.json is missing"):
            load_sae(tmp_path, format=format)
    (tmp_path / "sae_weights.safetensors").rename(tmp_path / "sae.safetensors")
    with pytest.raises(UserError, match=r"no cfg\.json in"):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("sae_weights.safetensors", "config.json"), ("checkpoints/final.safetensors", "hyperparams.json")],
)
def test_a_missing_config_of_llama_scope(tmp_path: Path, name: str, missing: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    save_file(M.linears("encoder", "decoder"), tmp_path / name)
    with pytest.raises(UserError, match=f"{missing} is missing"):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "temporal"}, "attends over the sequence"),
        ({"architecture": "matching_pursuit"}, "an iteration"),
        ({"architecture": "nonsense"}, "none of SAELens'"),
        ({"architecture": "topk"}, "k None"),
        ({"architecture": "topk", "k": 99}, "k is 99"),
        ({"architecture": "topk", "k": "3"}, "k '3'"),
        ({"d_in": 6}, r"W_enc has shape \[5, 9\], expected \[6, 9\]"),
        ({"d_sae": "many"}, "d_sae 'many'"),
        ({"normalize_activations": "covariance_whitening"}, "whitening is not in the checkpoint"),
        ({"normalize_activations": "sometimes"}, "normalize_activations 'sometimes'"),
        ({"activation_fn": "gelu"}, "activation function 'gelu'"),
        ({"apply_b_dec_to_input": "maybe"}, "expected true or false"),
    ],
)
def test_configs_that_cannot_be(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_sae(saelens(tmp_path, config))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_config_that_is_no_object(tmp_path: Path, text: str) -> None:
    saelens(tmp_path, {})
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(UserError, match=r"cfg\.json"):
        load_sae(tmp_path, format="saelens")


def test_a_threshold_of_minus_one(tmp_path: Path) -> None:
    state = M.linears("encoder", "decoder")
    state["b_dec"] = state.pop("decoder.bias")
    state |= {"k": torch.tensor(3), "threshold": torch.tensor(-1.0)}
    save_torch(tmp_path, "ae.pt", state)
    trainer = {"dict_class": "BatchTopKSAE", "activation_dim": D_IN, "dict_size": N_FEATURES, "k": 3}
    save_json(tmp_path, "config.json", {"trainer": trainer})
    loaded = load_checkpoint(tmp_path)
    assert loaded.notes == ("the threshold was never calibrated: the k largest of each position are kept instead",)
    assert int((loaded.sae.encode(draw(20, D_IN)) != 0).sum(1).max()) == 3


def test_an_ambiguous_file_names_its_readings(tmp_path: Path) -> None:
    state = M.linears("encoder", "decoder")
    state["b_dec"] = state.pop("decoder.bias")
    path = save_torch(tmp_path, "ae.pt", state | {"k": torch.tensor(3), "threshold": torch.tensor(0.4)})
    with pytest.raises(UserError) as caught:
        load_sae(path)
    assert "AutoEncoderTopK or a BatchTopKSAE" in caught.value.message
    assert "--assume activation=topk" in str(caught.value.hint)
    assert load_sae(path, assume={"activation": "topk"}).config.architecture == "topk"
    assert load_sae(path, assume={"activation": "batchtopk"}).config.architecture == "batchtopk"


def test_a_folder_of_two_formats(tmp_path: Path) -> None:
    saelens(tmp_path, {})
    np.savez(tmp_path / "params.npz", **{n: t.numpy() for n, t in {**M.bare(), "threshold": draw(9)}.items()})
    with pytest.raises(UserError, match=r"gemma_scope or as saelens[\s\S]*--format"):
        load_sae(tmp_path)
    assert load_sae(tmp_path, format="saelens").config.architecture == "relu"


def test_a_folder_of_several_weights_files(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        save_torch(tmp_path, name, M.linears("encoder", "decoder"))
    with pytest.raises(UserError, match=r"2 weights files: a\.pt, b\.pt"):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("assume", "message"),
    [
        ({"depth": 3}, "nothing called 'depth'"),
        ({"k": "many"}, "expected a whole number"),
        ({"k": 0}, "expected a whole number"),
        ({"activation": "gelu"}, "expected one of relu"),
        ({"subtract_b_dec": "perhaps"}, "yes or no"),
        ({"input_scale": -1}, "above 0"),
        ({"group_sizes": "4,x"}, "whole numbers with commas"),
        ({"k": 3}, "leaves nothing open"),
    ],
)
def test_assumptions_that_cannot_be(tmp_path: Path, assume: dict[str, Any], message: str) -> None:
    folder = saelens(tmp_path, {})
    with pytest.raises(UserError, match=message):
        load_sae(folder, assume=assume)


def test_an_assumption_against_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "layers.0"
    folder.mkdir()
    state = {"encoder.weight": M.W_enc.T.contiguous(), "encoder.bias": M.b_enc, "W_dec": M.W_dec, "b_dec": M.b_dec}
    save_file(state, folder / "sae.safetensors")
    save_json(folder, "cfg.json", {"d_in": D_IN, "num_latents": N_FEATURES, "k": 3})
    with pytest.raises(UserError, match=r"k is assumed to be 4, but .* says 3"):
        load_sae(folder, assume={"k": 4})


def test_files_under_any_name(tmp_path: Path) -> None:
    (tmp_path / "sae.pkl").write_bytes(pickle.dumps({"cfg": Intruder(tmp_path / "trap")}))
    with pytest.raises(UserError, match=r"sae\.pkl"):
        load_sae(tmp_path / "sae.pkl")
    (tmp_path / "sae.pkl.gz").write_bytes(gzip.compress((tmp_path / "sae.pkl").read_bytes()))
    with pytest.raises(UserError, match="compressed with gzip"):
        load_sae(tmp_path / "sae.pkl.gz")
    assert not (tmp_path / "trap").exists()
    torch.save(M.linears("encoder_linear", "decoder_linear"), tmp_path / "weights")
    assert load_sae(tmp_path / "weights").n_features == N_FEATURES
