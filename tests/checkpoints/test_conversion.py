"""Converting: codes stay bitwise the same there and back, and nothing that is there already is touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from saescope.autoencoders import architecture
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_checkpoint, load_sae, recorded_place
from saescope.checkpoints.conversion import as_native, convert
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from tests.checkpoints.writing import Matrices, draw, save_json, save_torch

D_IN, N_FEATURES = 6, 14

SAME: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("relu", {"apply_b_dec_to_input": True}),
    ("relu", {"input_normalization": "layer_norm"}),
    ("relu", {"tied": True}),
    ("relu", {"transcoder": True}),
    ("relu", {"d_out": 4}),
    ("relu", {"d_out": 4, "skip": True}),
    ("jumprelu", {"input_normalization": "norm"}),
    ("jumprelu", {"transcoder": True, "skip": True}),
    ("gated", {"apply_b_dec_to_input": True}),
    ("topk", {"k": 3}),
    ("topk", {"k": 3, "rescale_by_decoder_norm": True}),
    ("abstopk", {"k": 3}),
    ("batchtopk", {"k": 3}),
    ("matryoshka", {"k": 3, "group_sizes": (4, 10)}),
]
NATIVE_ALONE: list[tuple[str, dict[str, Any]]] = [
    ("kl", {}),
    ("groupmax", {"k": 2}),
    ("tanhrelu", {}),
    ("topk", {"k": 3, "signed": True}),
    ("topk", {"k": 3, "selects_by_contribution": True}),
    ("topk", {"k": 3, "skip": True}),
    ("deep", {"encoder_widths": (8,), "decoder_widths": (8,)}),
    ("undercomplete", {"encoder_widths": (8,), "decoder_widths": (8,), "activation": "leaky_relu"}),
    ("contractive", {"encoder_widths": (8,)}),
    ("undercomplete", {"decoder_widths": (8,), "sigmoid_output": True}),
]


def make(name: str, fields: dict[str, Any], *, calibrated: bool = True) -> Autoencoder:
    kind = architecture(name)
    sae = kind.module(kind.config(d_in=D_IN, n_features=N_FEATURES, **fields))
    with torch.no_grad():
        for i, parameter in enumerate(sae.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=i) if parameter.ndim else torch.tensor(0.6))
        if hasattr(sae, "threshold") and not calibrated:
            sae.threshold.fill_(-1)
    return sae.eval()


@pytest.mark.parametrize(("name", "fields"), SAME)
def test_to_saelens_and_back(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    sae = make(name, fields)
    about = {"model": "gpt2", "hook": "blocks.8.hook_resid_pre", "context_size": 64, "prepend_bos": False}
    native.save(sae, tmp_path / "first", {"metadata": about})
    convert(tmp_path / "first", "saelens", tmp_path / "saelens")
    convert(tmp_path / "saelens", "native", tmp_path / "second")
    assert load_checkpoint(tmp_path / "saelens").format == "saelens"
    again = load_checkpoint(tmp_path / "second")
    x = draw(50, D_IN, seed=5) * 2
    for got, expected in zip(again.sae(x), sae(x), strict=True):
        assert torch.equal(got, expected)
    assert again.metadata.items() >= about.items()
    digest = hashlib.sha256((tmp_path / "saelens" / "sae_weights.safetensors").read_bytes()).hexdigest()
    assert again.metadata["converted_from"] == {"format": "saelens", "sha256": {"sae_weights.safetensors": digest}}


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_without_a_threshold_a_batchtopk_becomes_a_topk(name: str, tmp_path: Path) -> None:
    sae = make(name, {"k": 3} | ({"group_sizes": (4, 10)} if name == "matryoshka" else {}), calibrated=False)
    native.save(sae, tmp_path / "first")
    convert(tmp_path / "first", "saelens", tmp_path / "second")
    x = draw(50, D_IN, seed=5)
    again = load_sae(tmp_path / "second")
    assert again.config.architecture == "topk"
    assert torch.equal(again.encode(x), sae.encode(x))


@pytest.mark.parametrize("name", ["relu", "jumprelu", "batchtopk"])
def test_norms_that_saelens_has_no_flag_for_are_folded(name: str, tmp_path: Path) -> None:
    fields = {"rescale_by_decoder_norm": True} | ({"k": 3} if name == "batchtopk" else {})
    sae = make(name, fields)
    native.save(sae, tmp_path / "first")
    convert(tmp_path / "first", "saelens", tmp_path / "second")
    x = draw(50, D_IN, seed=5)
    for got, expected in zip(load_sae(tmp_path / "second")(x), sae(x), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("name", "fields"), NATIVE_ALONE)
def test_what_saelens_cannot_say_is_refused(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    sae = make(name, fields)
    native.save(sae, tmp_path / "first")
    with pytest.raises(UserError, match="SAELens has nothing that computes the same"):
        convert(tmp_path / "first", "saelens", tmp_path / "second")
    assert [p.name for p in tmp_path.iterdir()] == ["first"]
    convert(tmp_path / "first", "native", tmp_path / "second")
    x = draw(50, D_IN, seed=5)
    for got, expected in zip(load_sae(tmp_path / "second")(x), sae(x), strict=True):
        assert torch.equal(got, expected)


def test_native_to_native_keeps_what_was_recorded(tmp_path: Path) -> None:
    sae = make("topk", {"k": 3})
    space = native.Whitening(draw(D_IN), draw(D_IN, D_IN))
    native.save(sae, tmp_path / "a", {"training": {"seed": 3}, "metadata": {"x": 1}}, whitening=space)
    convert(tmp_path / "a", "native", tmp_path / "b")
    assert native.read_config(tmp_path / "a") == native.read_config(tmp_path / "b")
    assert (tmp_path / "a" / "sae.safetensors").read_bytes() == (tmp_path / "b" / "sae.safetensors").read_bytes()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "a")
    out = tmp_path / "out"
    out.mkdir()
    convert(tmp_path / "a", "saelens", out)  # an empty one will do
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert set(before) == {"cfg.json", "sae_weights.safetensors"}
    with pytest.raises(UserError, match=r"holds cfg\.json, sae_weights\.safetensors already"):
        convert(tmp_path / "a", "native", out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    with pytest.raises(UserError, match="is a file"):
        convert(tmp_path / "a", "native", out / "cfg.json")


def test_trouble_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native.save(make("relu", {}), tmp_path / "a")

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("saescope.checkpoints.conversion.saelens_writer.save", fail)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "a", "saelens", tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_as_native_gives_the_checkpoint_itself_or_a_copy(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "a", {"training": {"seed": 3}})
    with as_native(tmp_path / "a") as itself:
        assert itself.folder == tmp_path / "a"
        assert itself.config["training"] == {"seed": 3}
    path = save_torch(tmp_path / "foreign", "ae.pt", Matrices().linears("encoder", "decoder"))
    contents = []
    for _ in range(2):
        with as_native(path) as copy:
            contents.append({p.name: p.read_bytes() for p in copy.folder.iterdir()})
            assert torch.equal(load_sae(copy.folder).atoms, copy.sae.atoms)
            assert copy.notes
        assert not copy.folder.exists()
    assert contents[0] == contents[1]


def test_what_saelens_wrote_is_kept_in_the_metadata(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "a")
    convert(tmp_path / "a", "saelens", tmp_path / "b")
    config = json.loads((tmp_path / "b" / "cfg.json").read_text())
    config["metadata"] |= {"model_name": "gpt2", "hook_name": "blocks.2.hook_resid_pre", "hook_head_index": 3}
    save_json(tmp_path / "b", "cfg.json", config)
    found = load_checkpoint(tmp_path / "b").metadata
    assert (found["model"], found["hook"], found["layer"], found["head"]) == ("gpt2", "blocks.2.hook_resid_pre", 2, 3)
    assert found["original_config"] == config


SOURCE = {
    "kind": "tokens",
    "model": "gpt2",
    "hook": "transformer.h.3",
    "context": 64,
    "bos": [],
    "path": "hf:org/texts",
}


def about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cfg.json").read_text())["metadata"]
    return found


def test_saelens_gets_the_metadata_that_it_reads_activations_by(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "native", {"training": {"source": SOURCE}})
    convert(tmp_path / "native", "saelens", tmp_path / "out")
    found = about(tmp_path / "out")
    assert (found["model_name"], found["hook_name"]) == ("gpt2", "blocks.3.hook_resid_post")
    assert (found["hf_hook_name"], found["dataset_path"]) == ("transformer.h.3", "org/texts")
    assert (found["context_size"], found["prepend_bos"], found["hook_head_index"]) == (64, False, None)
    assert load_checkpoint(tmp_path / "native").metadata["prepend_bos"] is False
    assert load_checkpoint(tmp_path / "out").metadata["hook"] == "blocks.3.hook_resid_post"


def test_what_nothing_records_has_the_librarys_defaults(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "native")
    convert(tmp_path / "native", "saelens", tmp_path / "out")
    found = about(tmp_path / "out")
    assert (found["prepend_bos"], found["context_size"], found["exclude_special_tokens"]) == (True, 128, False)
    needed = {"model_name", "hook_name", "hook_head_index", "dataset_path", "seqpos_slice", "sae_lens_version"}
    assert needed <= set(found)


def test_the_recorded_place_of_a_checkpoint(tmp_path: Path) -> None:
    native.save(make("relu", {}), tmp_path / "native", {"training": {"source": {**SOURCE, "head": 2}}})
    place = recorded_place(tmp_path / "native")
    assert (place.model, place.hook, place.head, place.hook_out) == ("gpt2", "transformer.h.3", 2, None)
    assert (place.prepend_bos, place.context_size) == (False, 64)
    native.save(make("relu", {}), tmp_path / "unknown")
    assert set(recorded_place(tmp_path / "unknown")) == {None}
