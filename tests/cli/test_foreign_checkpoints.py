"""Checkpoints of other libraries by the command line: converted, judged, and built into a store that knows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saescope.checkpoints import load_sae
from saescope.store import FeatureStore
from tests.cli.conftest import Saescope
from tests.cli.test_mistakes import told

TOY = ("--toy", "24x12:p=0.05,items=2000")


@pytest.fixture
def trained(saescope: Saescope, tmp_path: Path) -> Path:
    """A small native checkpoint, and one in dictionary_learning's names without its config."""
    steps = ("--n-features", 24, "--steps", 300, "--batch-size", 128)
    out = saescope("train", *TOY, "--arch", "topk", "--k", 2, *steps, "--out", tmp_path / "toy")
    assert out.code == 0, out.err
    tensors = load_file(tmp_path / "toy" / "sae.safetensors")
    state = {"b_dec": tensors["b_dec"], "encoder.bias": tensors["b_enc"], "encoder.weight": tensors["W_enc"].T}
    state |= {"decoder.weight": tensors["W_dec"].T}
    torch.save({name: t.contiguous() for name, t in state.items()}, tmp_path / "foreign.pt")
    return tmp_path


def test_convert(trained: Path, saescope: Saescope) -> None:
    there = saescope("convert", trained / "toy", "--to", "saelens", "--out", trained / "lens", "--json")
    assert there.code == 0, there.err
    assert there.json["architecture"] == "topk"
    assert there.json["format"] == "native"
    back = saescope("convert", trained / "lens", "--to", "native", "--out", trained / "back")
    assert back.code == 0, back.err
    assert "as saelens: topk, 24 features of 12" in back.out
    x = torch.randn(40, 12)
    for got, expected in zip(load_sae(trained / "back")(x), load_sae(trained / "toy")(x), strict=True):
        assert torch.equal(got, expected)
    told(saescope("convert", trained / "toy", "--to", "native", "--out", trained / "lens"), "holds cfg.json", "empty")


def test_what_a_file_does_not_record_is_asked_for(trained: Path, saescope: Saescope) -> None:
    foreign = trained / "foreign.pt"
    told(saescope("evaluate", foreign, *TOY), "AutoEncoderTopK or a BatchTopKSAE", "--assume activation=topk")
    told(saescope("evaluate", foreign, *TOY, "--assume", "k"), "NAME=VALUE", "--assume k=32")
    told(saescope("evaluate", foreign, *TOY, "--assume", "k=1", "--assume", "k=2"), "k twice")
    said = ("--assume", "activation=topk", "--assume", "k=2")
    evaluated = saescope("evaluate", foreign, *TOY, *said, "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["metrics"]["l0"] <= 2


def test_build_keeps_a_native_copy(trained: Path, saescope: Saescope) -> None:
    saescope("convert", trained / "toy", "--to", "saelens", "--out", trained / "lens")
    store = trained / "store"
    built = saescope("build", trained / "lens", *TOY, "--store", store, "--json")
    assert built.code == 0, built.err
    again = saescope("build", trained / "lens", *TOY, "--store", store, "--json")
    assert again.json["version"] == built.json["version"]
    assert saescope("verify", "--store", store).code == 0
    with FeatureStore(store) as opened:
        assert opened["lens"].manifest.architecture == "topk"
    folder = next(store.glob(f"saes/lens/{built.json['version']}/sae"))
    config = json.loads((folder / "cfg.json").read_text())
    assert config["format"] == "saescope-sae"
    assert config["metadata"]["converted_from"]["format"] == "saelens"
    x = torch.randn(40, 12)
    assert torch.equal(load_sae(folder).encode(x), load_sae(trained / "toy").encode(x))


def test_a_bad_fit_is_told_with_what_was_tried(trained: Path, saescope: Saescope) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 40), torch.nn.ReLU(), torch.nn.Linear(40, 12))
    torch.save(model.state_dict(), trained / "no.pt")
    done = saescope("evaluate", trained / "no.pt", *TOY, "--json")
    assert done.code == 0, done.err
    assert set(done.json) == {"metrics", "n_positions"}
    assert "note: " in done.err
    assert "read as ReLU" in done.err
    assert "check the model, hook and layer" in done.err or "It fits better when read otherwise" in done.err
    good = saescope("evaluate", trained / "toy", *TOY)
    assert "fits better" not in good.err


def test_corrections_reach_every_format(trained: Path, saescope: Saescope) -> None:
    out = saescope("convert", trained / "toy", "--to", "native", "--out", trained / "new", "--assume", "b_dec_scale=2")
    assert out.code == 0, out.err
    old, new = load_file(trained / "toy" / "sae.safetensors"), load_file(trained / "new" / "sae.safetensors")
    assert torch.equal(new["b_dec"], 2 * old["b_dec"])
    assert torch.equal(new["W_dec"], old["W_dec"])
    assert json.loads((trained / "new" / "cfg.json").read_text())["metadata"] == {"corrected": ["b_dec_scale"]}
    built = saescope(
        "build", trained / "toy", *TOY, "--assume", "b_dec_scale=2", "--store", trained / "store", "--json"
    )
    assert built.code == 0, built.err
    kept = trained / "store" / "saes" / "toy" / built.json["version"] / "sae" / "sae.safetensors"
    assert torch.equal(load_file(kept)["b_dec"], new["b_dec"])
