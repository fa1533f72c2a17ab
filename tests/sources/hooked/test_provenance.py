"""What a checkpoint records of its training against a source: names of the same place agree, others are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saescope.sources import SourceOptions, open_source
from saescope.sources.hooked.provenance import differences, remarks, same_model
from saescope.sources.protocol import Source
from tests.sources.texts.small_model import save_model, texts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("provenance")
    save_model(root / "gpt-tiny")
    (root / "a.txt").write_text(texts(1)[0], encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))


def opened(root: Path, hook: str = "blocks.0.hook_resid_post", **more: Any) -> Source:
    given = {"texts": str(root / "a.txt"), "model": str(root / "gpt-tiny"), "hook": hook, "context": 16}
    return open_source(SourceOptions(**{**given, **more}))


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_pre",
        "model.layers.0",
        "layers.0",
        "layers.0.output",
        "model.layers.1.input",
        "resid_post_layer_0",
    ],
)
@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_post", "model.layers.0", "blocks.1.hook_resid_pre"])
def test_names_of_one_place_agree(root: Path, name: str, hook: str) -> None:
    assert differences({"hook": name, "model": "org/gpt-tiny", "prepend_bos": True}, opened(root, hook)) == ()


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("blocks.0.hook_attn_out", "layers.0.self_attn"),
        ("blocks.1.attn.hook_z", "layers.1.self_attn.o_proj.input"),
        ("blocks.1.hook_mlp_in", "blocks.1.hook_resid_mid"),
        ("layers.1.mlp.input", "blocks.1.mlp.hook_in"),
    ],
)
def test_places_inside_a_block_agree_too(root: Path, name: str, hook: str) -> None:
    assert differences({"hook": name}, opened(root, hook)) == ()


@pytest.mark.parametrize(
    "recorded",
    [
        {"hook": "blocks.1.hook_resid_post"},
        {"hook": "model.layers.1"},
        {"hook": "blocks.0.hook_mlp_out"},
        {"hook": "resid_post_layer_1"},
        {"hook": "blocks.7.hook_resid_post"},
        {"hook": "blocks.0.ln1.hook_normalized"},
        {"hook": "some.layers.1.place"},
    ],
)
def test_another_place_is_told_with_both_names(root: Path, recorded: dict[str, Any]) -> None:
    (told,) = differences(recorded, opened(root))
    assert recorded["hook"] in told
    assert "--hook blocks.0.hook_resid_post" in told


def test_the_rest_of_what_is_recorded(root: Path) -> None:
    source = opened(root)
    (told,) = differences({"model": "gpt2"}, source)
    assert "trained on the model gpt2" in told
    assert "gpt-tiny" in told
    (told,) = differences({"prepend_bos": False}, source)
    assert "--bos no" in told
    (told,) = differences({"prepend_bos": True}, opened(root, bos="no"))
    assert "--bos yes" in told
    (told,) = differences({"layer": 1}, source)
    assert "layer 1, the source reads layer 0" in told
    (told,) = differences({"hook": "blocks.0.attn.hook_z", "head": 1}, opened(root, "blocks.0.attn.hook_z", head=0))
    assert "head 1" in told
    assert "--head 0" in told
    (told,) = differences(
        {"hook": "blocks.0.hook_resid_post", "hook_out": "blocks.1.hook_mlp_out"},
        opened(root, hook_out="blocks.0.hook_mlp_out"),
    )
    assert "blocks.1.hook_mlp_out" in told
    assert "--hook-out blocks.0.hook_mlp_out" in told
    assert len(differences({"model": "gpt2", "hook": "layers.1", "prepend_bos": False}, source)) == 3
    assert differences({}, source) == ()
    assert remarks(source) == ()
    assert differences({"model": "gpt2"}, open_source(SourceOptions(images="embedded:digits"))) == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt2-small", "openai-community/gpt2", True),
        ("google/gemma-2-2b", "gemma-2-2b", True),
        ("google/gemma-2-2b", "google/gemma-2-2b-it", False),
        ("gpt2", "/hub/models--openai-community--gpt2/snapshots/6079/", True),
        ("EleutherAI/pythia-70m-deduped", "./pythia-70m", False),
    ],
)
def test_names_of_models(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same
    assert same_model(other, one) is same


def test_a_model_without_logits_is_remarked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = opened(root)
    monkeypatch.setattr(source.hooked, "loaded", replace(source.hooked.loaded, without_logits="it looks ahead"))
    (told,) = remarks(source)
    assert "no logits for texts (it looks ahead)" in told
    assert "gpt-tiny" in told
