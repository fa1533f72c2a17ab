"""Checkpoints whose tensors are spread over several files, and files that hold one half alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.checkpoints import load_checkpoint, load_sae, weights_sha256
from saescope.checkpoints.conversion import as_native, convert
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.store.format.hashing import file_sha256
from tests.checkpoints.writing import D_IN, N_FEATURES, Matrices, draw, inputs, save_json

M = Matrices()
X = inputs()
SAID = {"subtract_b_dec": False}


def spread(
    folder: Path,
    tensors: dict[str, Tensor],
    stem: str = "model",
    suffix: str = ".safetensors",
    n_files: int = 2,
    save: Callable[[dict[str, Tensor], Path], Any] = save_file,
) -> Path:
    """The tensors in `n_files` files with their index; its path."""
    folder.mkdir(exist_ok=True)
    weight_map: dict[str, str] = {}
    for i in range(n_files):
        name = f"{stem}-{i + 1:05}-of-{n_files:05}{suffix}"
        part = dict(list(tensors.items())[i::n_files])
        save({key: tensor.contiguous() for key, tensor in part.items()}, folder / name)
        weight_map |= dict.fromkeys(part, name)
    return save_json(folder, f"{stem}{suffix}.index.json", {"metadata": {"total_size": 1}, "weight_map": weight_map})


def same(sae: Autoencoder) -> None:
    codes = (X @ M.W_enc + M.b_enc).relu()
    assert torch.allclose(sae(X).codes, codes, atol=1e-5)
    assert torch.allclose(sae(X).reconstruction, codes @ M.W_dec + M.b_dec, atol=1e-4)


@pytest.mark.parametrize("n_files", [2, 3])
@pytest.mark.parametrize(("stem", "suffix"), [("model", ".safetensors"), ("pytorch_model", ".bin"), ("sae", ".pt")])
def test_the_folder_the_index_and_each_file_give_the_whole(
    tmp_path: Path, stem: str, suffix: str, n_files: int
) -> None:
    save = save_file if suffix == ".safetensors" else torch.save
    index = spread(tmp_path / "sae", M.bare(), stem, suffix, n_files, save)
    files = [file for file in index.parent.iterdir() if file != index]
    assert len(files) == n_files
    for path in (index.parent, index, *files):
        loaded = load_checkpoint(path, assume=SAID)
        same(loaded.sae)
        assert set(loaded.weights) == set(files)


def test_prefixes_that_only_all_files_together_have(tmp_path: Path) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in M.linears("encoder", "decoder").items()}
    same(load_checkpoint(spread(tmp_path, tensors, suffix=".bin", save=torch.save, n_files=4)).sae)


def test_conversion_records_the_hash_of_each_file(tmp_path: Path) -> None:
    index = spread(tmp_path / "in", M.bare())
    convert(index.parent, "native", tmp_path / "out", assume=SAID)
    same(load_sae(tmp_path / "out"))
    told = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]["converted_from"]["sha256"]
    assert told == {file.name: file_sha256(file) for file in (tmp_path / "in").glob("*.safetensors")}


@pytest.mark.parametrize("stem", ["sae_weights", "model"])
def test_shards_of_a_format_with_names_of_its_own(tmp_path: Path, stem: str) -> None:
    config = {"architecture": "standard", "d_in": D_IN, "d_sae": N_FEATURES, "apply_b_dec_to_input": False}
    save_json(tmp_path, "cfg.json", {**config, "metadata": {"hook_name": "blocks.3.hook_resid_post"}})
    index = spread(tmp_path, M.bare(), stem)
    for path in (tmp_path, index, tmp_path / f"{stem}-00002-of-00002.safetensors"):
        loaded = load_checkpoint(path)
        same(loaded.sae)
        assert (loaded.format, loaded.metadata["hook"]) == ("saelens", "blocks.3.hook_resid_post")


def test_shards_of_sparsify(tmp_path: Path) -> None:
    save_json(tmp_path, "cfg.json", {"d_in": D_IN, "k": 3, "num_latents": N_FEATURES})
    tensors = {"encoder.weight": M.W_enc.T, "encoder.bias": M.b_enc, "W_dec": M.W_dec, "b_dec": M.b_dec}
    spread(tmp_path, tensors, "sae")
    assert load_checkpoint(tmp_path).format == "sparsify"


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    index = spread(tmp_path, {**M.bare(), "extra": draw(2)}, n_files=5)
    weight_map = json.loads(index.read_text())["weight_map"]
    weight_map |= {"W_skip": weight_map["b_enc"]}
    index.write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / weight_map["W_dec"]).unlink()
    (tmp_path / weight_map["b_dec"]).unlink()
    for path in (tmp_path, index, tmp_path / weight_map["W_enc"]):
        with pytest.raises(UserError) as caught:
            load_sae(path)
        for told in (weight_map["W_dec"], weight_map["b_dec"], "tensor W_skip is not in"):
            assert told in caught.value.message


def test_tensors_that_the_index_leaves_out_are_told(tmp_path: Path) -> None:
    index = spread(tmp_path, M.bare())
    weight_map = json.loads(index.read_text())["weight_map"]
    file = weight_map.pop("b_dec")
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UserError, match=f"tensor b_dec of {file} is not in the index"):
        load_sae(tmp_path, assume=SAID)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not an object"),
        ("{}", "no weight_map"),
        ('{"weight_map": []}', "no weight_map"),
        ('{"weight_map": {"W_enc": 5}}', "expected the name of a file"),
        ('{"weight_map": {"W_enc": "../secret.safetensors"}}', "expected the name of a file"),
        ('{"weight_map": {"W_enc": "/etc/passwd"}}', "expected the name of a file"),
        ('{"weight_map": {"W_enc": ".."}}', "expected the name of a file"),
    ],
)
def test_damaged_indices(tmp_path: Path, content: str, message: str) -> None:
    spread(tmp_path, M.bare()).write_text(content)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        with pytest.raises(UserError, match=message):
            load_sae(path)


def test_a_half_is_no_checkpoint(tmp_path: Path) -> None:
    save_file({"W_enc": M.W_enc, "b_enc": M.b_enc}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(UserError, match=r"no decoder: W_dec is missing(.|\n)*index(.|\n)*--assume tied=yes"):
        load_sae(tmp_path / "model-00001-of-00002.safetensors")
    codes = (X @ M.W_enc + M.b_enc).relu()
    sae = load_checkpoint(tmp_path / "model-00001-of-00002.safetensors", assume={"tied": "true"}).sae
    assert torch.allclose(sae(X).reconstruction, codes @ M.W_enc.T, atol=1e-4)
    other = tmp_path / "other"
    other.mkdir()
    save_file({"W_dec": M.W_dec, "b_dec": M.b_dec}, other / "model-00002-of-00002.safetensors")
    with pytest.raises(UserError, match="no encoder: W_enc is missing"):
        load_sae(other)


def test_tied_is_no_assumption_where_there_is_a_decoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tied assumed"):
        load_sae(spread(tmp_path, M.bare()), assume={**SAID, "tied": True})


def native_checkpoint(folder: Path) -> dict[str, Tensor]:
    """A native checkpoint of an SAE trained on whitened data, in one file; its tensors."""
    sae = ReluAutoencoder(ReluConfig(d_in=D_IN, n_features=N_FEATURES))
    sae.load_tensors(M.bare())
    whitening = native.Whitening(torch.arange(D_IN).float(), 2 * torch.eye(D_IN))
    native.save(sae, folder, {"training": {"seed": 3}}, whitening=whitening)
    return load_file(folder / "sae.safetensors")


@pytest.mark.parametrize("stem", ["sae", "model"])
def test_shards_of_the_native_format(tmp_path: Path, stem: str) -> None:
    tensors = native_checkpoint(tmp_path / "one")
    folder = tmp_path / "several"
    index = spread(folder, tensors, stem, n_files=3)
    shutil.copy(tmp_path / "one" / "cfg.json", folder)
    for path in (folder, index, folder / f"{stem}-00002-of-00003.safetensors"):
        loaded = load_checkpoint(path)
        assert loaded.format == "native"
        same(loaded.sae)
        assert len(loaded.weights) == 3
    with as_native(folder) as one, as_native(tmp_path / "one") as other:
        assert one.config == other.config
        assert one.whitening is not None
        assert torch.equal(one.whitening.matrix, 2 * torch.eye(D_IN))
        assert weights_sha256(one.folder) == weights_sha256(other.folder)
    convert(folder, "native", tmp_path / "out")
    assert load_file(tmp_path / "out" / "sae.safetensors").keys() == tensors.keys()


def test_faults_of_native_shards_are_told(tmp_path: Path) -> None:
    tensors = native_checkpoint(tmp_path)
    (tmp_path / "sae.safetensors").unlink()
    index = spread(tmp_path, {**tensors, "W_enc": tensors["W_enc"] * torch.nan}, "sae")
    with pytest.raises(UserError, match=r"W_enc has .* NaN") as caught:
        load_sae(tmp_path)
    assert str(index) in caught.value.message
    (tmp_path / "sae-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"sae-00002-of-00002\.safetensors is missing"):
        load_sae(tmp_path)
