"""The native format: round trips, and every fault of a damaged checkpoint told at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder, JumpreluConfig
from saescope.autoencoders.kl.module import KlAutoencoder, KlConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.store.errors import FaultsError, UserError


def make(kind: str = "topk") -> LinearAutoencoder:
    models: dict[str, LinearAutoencoder] = {
        "topk": TopkAutoencoder(TopkConfig(d_in=5, n_features=9, k=3)),
        "relu": ReluAutoencoder(ReluConfig(d_in=5, n_features=9, apply_b_dec_to_input=True)),
        "kl": KlAutoencoder(KlConfig(d_in=5, n_features=9, firing_threshold=0.25)),
        "jumprelu": JumpreluAutoencoder(JumpreluConfig(d_in=5, n_features=9)),
        "tied": ReluAutoencoder(ReluConfig(d_in=5, n_features=9, tied=True)),
        "normalised": TopkAutoencoder(TopkConfig(d_in=5, n_features=9, k=3, input_normalization="layer_norm")),
        "skipping": ReluAutoencoder(ReluConfig(d_in=5, n_features=9, skip=True, transcoder=True)),
        "wide": ReluAutoencoder(ReluConfig(d_in=5, n_features=9, d_out=7, rescale_by_decoder_norm=True)),
    }
    model = models[kind]
    generator = torch.Generator().manual_seed(len(kind))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "sae"
    native.save(make(), folder, {"training": {"seed": 3}})
    return folder


def rewrite_config(folder: Path, change: Callable[[dict], None]) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    change(config)
    (folder / "cfg.json").write_text(json.dumps(config))


def rewrite_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "sae.safetensors")
    change(tensors)
    save_file(tensors, folder / "sae.safetensors")
    rewrite_config(folder, lambda c: c.update(weights_sha256=weights_sha256(folder)))


@pytest.mark.parametrize("kind", ["topk", "relu", "kl", "jumprelu", "tied", "normalised", "skipping", "wide"])
def test_round_trip(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    native.save(model, tmp_path)
    loaded = load_sae(tmp_path)
    assert loaded.config == model.config
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(1))
    for got, expected in zip(loaded(x), model(x), strict=True):
        assert torch.equal(got, expected)
        assert not got.requires_grad
    shapes = {k: tuple(v.shape) for k, v in load_file(tmp_path / "sae.safetensors").items()}
    own = {"jumprelu": {"threshold": (9,)}, "skipping": {"W_skip": (5, 5)}}.get(kind, {})
    d_out = 7 if kind == "wide" else 5
    assert shapes == {"W_enc": (5, 9), "W_dec": (9, d_out), "b_enc": (9,), "b_dec": (d_out,), **own}


def test_a_jumprelu_needs_its_thresholds(tmp_path: Path) -> None:
    native.save(make("jumprelu"), tmp_path)
    rewrite_tensors(tmp_path, lambda tensors: tensors.pop("threshold"))
    with pytest.raises(UserError, match="tensor threshold is missing"):
        load_sae(tmp_path)


def test_any_of_its_paths_loads(saved: Path) -> None:
    for path in (saved, saved / "cfg.json", saved / "sae.safetensors", str(saved)):
        assert load_sae(path).n_features == 9
    assert load_sae(saved, format="native").d_in == 5


def test_the_hash_is_that_of_the_weights_file(saved: Path) -> None:
    digest = hashlib.sha256((saved / "sae.safetensors").read_bytes()).hexdigest()
    assert weights_sha256(saved) == digest == native.read_config(saved)["weights_sha256"]
    assert native.read_config(saved)["training"] == {"seed": 3}


def test_whitening_travels_along(tmp_path: Path) -> None:
    space = native.Whitening(torch.arange(5.0), torch.eye(5) * 2)
    native.save(make(), tmp_path, whitening=space)
    assert load_sae(tmp_path).n_features == 9
    read = native.read_whitening(tmp_path)
    assert read is not None
    assert torch.equal(read.matrix, space.matrix)
    assert torch.equal(read.mean, space.mean)


def test_without_whitening_there_is_none(saved: Path) -> None:
    assert native.read_whitening(saved) is None


def test_a_hand_made_checkpoint_with_the_contract_alone_loads(tmp_path: Path) -> None:
    model = make()
    save_file({k: v.detach().contiguous().half() for k, v in model.tensors().items()}, tmp_path / "sae.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "topk", "d_in": 5, "n_features": 9, "k": 3}))
    loaded = load_sae(tmp_path)
    torch.testing.assert_close(loaded.atoms, model.atoms, rtol=1e-3, atol=1e-3)
    assert loaded.atoms.dtype == torch.float32


def test_all_faults_at_once(saved: Path) -> None:
    def break_tensors(tensors: dict[str, torch.Tensor]) -> None:
        tensors["W_dec"][2, 1] = torch.nan
        tensors["b_dec"] = torch.zeros(6)
        tensors["surprise"] = torch.zeros(1)
        del tensors["b_enc"]

    rewrite_tensors(saved, break_tensors)
    rewrite_config(saved, lambda c: c.update(wrong_key=1))
    with pytest.raises(FaultsError) as caught:
        load_sae(saved)
    for part in (
        "wrong_key",
        "W_dec has 1 values",
        "b_dec has shape [6], expected [5]",
        "surprise",
        "b_enc is missing",
    ):
        assert part in str(caught.value)
    assert len(caught.value.faults) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(k=10), "k is 10"),
        (lambda c: c.update(k="3"), "k is '3', expected a whole number"),
        (lambda c: c.update(k=True), "k is True"),
        (lambda c: c.pop("k"), "k is missing"),
        (lambda c: c.update(n_features=0), "n_features is 0"),
        (lambda c: c.update(n_features=10**15), "W_enc has shape"),
        (lambda c: c.update(d_out=7), "W_dec has shape [9, 5], expected [9, 7]"),
        (lambda c: c.update(d_out=7, apply_b_dec_to_input=True), "cannot be subtracted"),
        (lambda c: c.update(input_normalization="batch"), "expected none, layer_norm or norm"),
        (lambda c: c.update(input_normalization=["norm"]), "expected none, layer_norm or norm"),
        (lambda c: c.update(skip=True), "tensor W_skip is missing"),
        (lambda c: c.update(architecture="topkk"), "unknown architecture 'topkk'"),
        (lambda c: c.update(architecture=3), "architecture is 3"),
        (lambda c: c.update(format="other"), "format is 'other'"),
        (lambda c: c.update(format_version=2), "format_version is 2"),
        (lambda c: c.update(firing_threshold=float("nan")), "firing_threshold is nan"),
        (lambda c: c.update(tied=True), "not the transpose"),
    ],
)
def test_wrong_configs(saved: Path, change: Callable[[dict], None], message: str) -> None:
    rewrite_config(saved, change)
    with pytest.raises(UserError) as caught:
        load_sae(saved, format="native")
    assert message in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(saved: Path, keep: int) -> None:
    weights = saved / "sae.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"sae\.safetensors"):
        load_sae(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_broken_json(saved: Path, text: str) -> None:
    (saved / "cfg.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"cfg\.json|known format"):
        load_sae(saved)
    with pytest.raises(UserError, match=r"cfg\.json"):
        load_sae(saved, format="native")


def test_weights_of_another_save_are_noticed(saved: Path) -> None:
    save_file({k: v.detach().contiguous() for k, v in make("tied").tensors().items()}, saved / "sae.safetensors")
    with pytest.raises(UserError, match="sha256 differs"):
        load_sae(saved)


def test_missing_weights(saved: Path) -> None:
    (saved / "sae.safetensors").unlink()
    with pytest.raises(UserError, match=r"sae\.safetensors is missing"):
        load_sae(saved)


def test_paths_that_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_sae(tmp_path / "nothing")
    with pytest.raises(UserError, match="the hub cannot be reached"):
        load_sae("someone/some-sae")
    with pytest.raises(UserError, match="no checkpoint of a known format"):
        load_sae(tmp_path)
    with pytest.raises(UserError, match="unknown checkpoint format 'zip'"):
        load_sae(tmp_path, format="zip")


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        native.save(make(), tmp_path / "taken")
