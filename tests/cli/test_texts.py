"""Texts through a model by the command line: train, sweep, build, evaluate, kills, and what users get wrong."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import BertConfig, BertModel

from saescope.checkpoints.formats import native
from saescope.store import FeatureStore
from tests.cli.conftest import Saescope
from tests.cli.test_mistakes import told
from tests.sources.texts import small_model

SMALL = ("--arch", "topk", "--n-features", 32, "--k", 4, "--steps", 40, "--batch-size", 128)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """texts/ (twenty topics of the language reference) and model/."""
    root = tmp_path_factory.mktemp("texts")
    small_model.save_model(root / "model")
    (root / "texts").mkdir()
    for number, text in enumerate(small_model.texts(20)):
        (root / "texts" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(root: Path, **changed: object) -> tuple[object, ...]:
    given = {"texts": root / "texts", "model": root / "model", "hook": "blocks.1.hook_resid_post", "context": 32}
    return tuple(
        part for name, value in {**given, **changed}.items() for part in (f"--{name.replace('_', '-')}", value)
    )


def test_train_build_and_evaluate(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    out, store = tmp_path / "tiny", tmp_path / "store"
    trained = saescope("train", *source(root), *SMALL, "--out", out)
    assert trained.code == 0, trained.err
    recorded = native.read_config(out)["training"]
    assert recorded["source"]["kind"] == "tokens"
    assert recorded["held_out"]["fraction"] == 0.1
    evaluated = saescope("evaluate", out, *source(root), "--json")
    assert evaluated.code == 0, evaluated.err
    n_held_out = recorded["source"]["n_positions"] - recorded["n_rows"]
    assert evaluated.json["n_positions"] == n_held_out > 0
    built = saescope("build", out, *source(root), "--store", store)
    assert built.code == 0, built.err
    with FeatureStore(store) as opened:
        entry = opened["tiny"]
        assert entry.manifest.source["corpus_sha256"] == recorded["source"]["corpus_sha256"]
        assert entry.n_positions == recorded["source"]["n_positions"]
        assert entry.manifest.n_metric_positions == n_held_out
        items = entry.table("items")
        assert {"token_ids", "tokens", "context_start", "document_id", "file"} <= set(items.column_names)


def test_absorption(saescope: Saescope, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saescope.metrics.absorption import words

    assert saescope("train", *source(root), *SMALL, "--out", tmp_path / "tiny").code == 0
    ask = ("evaluate", tmp_path / "tiny", *source(root), "--n-ce-positions", 0, "--absorption")
    monkeypatch.setattr(words, "FEWEST_TOKENS", 1000)
    told(saescope(*ask), "too few words", "--absorption")
    monkeypatch.setattr(words, "FEWEST_TOKENS", 2)
    done = saescope(*ask, "--json")
    assert done.code == 0, done.err
    metrics = done.json["metrics"]
    assert {f"absorption_{name}" for name in ("full", "fraction", "split", "probe_f1", "letters")} <= set(metrics)
    assert metrics["absorption_probe_f1.x"] is None
    assert 0 < metrics["absorption_probe_f1"] < 1
    assert "note: absorption is not measured where too few different words begin with" in done.err
    shown = saescope(*ask)
    assert re.search(r"^absorption_probe_f1\.x +-  F1 of the letter's probe", shown.out, re.MULTILINE)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))
    other = saescope("evaluate", tmp_path / "tiny", "--activations", tmp_path / "x.npy", "--absorption")
    told(other, "words of texts", "activations")


def test_parts_of_a_corpus_are_judged_by_the_same_documents(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    """However much of a corpus an SAE is trained and judged on: what it was trained on counts in no metric."""
    part = source(root, max_tokens=8000)
    assert saescope("train", *part, *SMALL, "--out", tmp_path / "tiny").code == 0
    recorded = native.read_config(tmp_path / "tiny")["training"]
    whole = saescope("evaluate", tmp_path / "tiny", *source(root), "--json")
    assert whole.code == 0, whole.err
    told_of_whole = saescope("evaluate", tmp_path / "tiny", *source(root))
    if recorded["held_out"]["by_hash"]:
        from saescope.sources import SourceOptions, held_out_items, open_source

        options = dict(zip([str(a)[2:] for a in source(root)[::2]], source(root)[1::2], strict=True))
        opened = open_source(SourceOptions(**options))  # type: ignore[arg-type]
        chosen = held_out_items(opened, strictly=True)
        n = sum(int(b.mask[chosen[b.item_ids]].sum()) for b in opened.batches() if b.mask is not None)
        assert whole.json["n_positions"] == n > 0
        assert "trained on these very positions" not in told_of_whole.out
    else:
        assert "trained on these very positions" in told_of_whole.out


@pytest.mark.parametrize("way", ["auto", "off"])
def test_a_sweep(saescope: Saescope, root: Path, tmp_path: Path, cache: Path, way: str) -> None:
    sweep = ("sweep", *source(root, cache=way), *SMALL[:4], *SMALL[6:], "--values", "2,4", "--name", "tiny")
    done = saescope(*sweep, "--store", tmp_path / "store", "--json")
    assert done.code == 0, done.err
    entries = done.json["entries"]
    assert [e["sae_id"] for e in entries] == ["tiny-topk-k2", "tiny-topk-k4"]
    assert entries[0]["metrics"]["fvu"] > entries[1]["metrics"]["fvu"]
    assert (cache / "activations").exists()
    assert any((cache / "activations").rglob("*.bin")) == (way == "auto")
    again = saescope(*sweep, "--store", tmp_path / "store", "--json")
    assert all(e["reused"] for e in again.json["entries"])
    other = saescope(*sweep, "--hook", "blocks.0.hook_resid_post", "--store", tmp_path / "store", "--json")
    assert not any(e["reused"] for e in other.json["entries"])


def test_splits_of_texts_share_one_model(
    saescope: Saescope, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saescope.sources.hooked import source as hooked_source

    for number, text in enumerate(small_model.texts(8)):
        folder = tmp_path / "texts" / ("test" if number < 3 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    loaded: list[tuple] = []
    hooked_source._held.clear()  # sources of other tests may not have been collected yet
    plain = hooked_source.load_model
    monkeypatch.setattr(hooked_source, "load_model", lambda *given: loaded.append(given) or plain(*given))
    given = source(root, texts=tmp_path / "texts", context=24)
    done = saescope(
        "sweep", *given, *SMALL[:4], *SMALL[6:], "--values", 4, "--name", "it", "--store", tmp_path / "store"
    )
    assert done.code == 0, done.err
    assert len(loaded) == 1
    with FeatureStore(tmp_path / "store") as store:
        manifest = store["it-topk-k4"].manifest
        assert manifest.source["split"] == "test"
        assert manifest.source["n_documents"] == 3
        assert manifest.n_metric_positions == manifest.n_positions
        assert manifest.config["training"]["source"]["split"] == "train"
        assert manifest.config["training"]["held_out"] is None


def test_a_run_at_another_hook_is_another_run(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    assert saescope("train", *source(root), *SMALL, "--out", tmp_path / "tiny").code == 0
    for changed in ({"hook": "blocks.0.hook_resid_post"}, {"context": 16}, {"exclude_norm": 5}, {"cache": "off"}):
        done = saescope("train", *source(root, **changed), *SMALL, "--out", tmp_path / "tiny")
        told(done, "other settings or data")
    assert saescope("train", *source(root), *SMALL, "--out", tmp_path / "tiny").code == 0


@pytest.mark.slow
def test_processes_that_are_killed_while_they_cache(root: Path, tmp_path: Path) -> None:
    """`kill -9` at random moments of `saescope train`, as a user's machine would."""

    def train(name: str, kill_after: float | None = None) -> bool:
        command = [sys.executable, "-m", "saescope.cli", "train", *source(root), *SMALL, "--out", tmp_path / name]
        environment = {**os.environ, "SAESCOPE_CACHE": str(tmp_path / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([str(part) for part in command], env=environment, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False
        assert process.returncode == 0, said
        return True

    begun = time.monotonic()
    assert train("whole")
    seconds = time.monotonic() - begun
    rng = random.Random(0)
    for _ in range(3):
        train("killed", rng.uniform(0.3, 0.9) * seconds)
    assert train("killed")
    weights, expected = (load_file(tmp_path / name / "sae.safetensors") for name in ("killed", "whole"))
    assert all((weights[name] == expected[name]).all() for name in expected)
    caches = [
        {p.name: p.read_bytes() for p in (tmp_path / f"cache-{name}" / "activations").rglob("*") if p.is_file()}
        for name in ("killed", "whole")
    ]
    assert caches[0] == caches[1]


def mistaken(saescope: Saescope, root: Path, tmp_path: Path, *words: str, **changed: object) -> None:
    told(saescope("train", *source(root, **changed), *SMALL, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_models_and_hooks_that_are_not_there(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    mistaken(saescope, root, tmp_path, "blocks.1.hook_resid_post", hook="blocks.1.hook_resid_pots")
    mistaken(saescope, root, tmp_path, "blocks.9", hook="blocks.9.hook_resid_post")
    mistaken(saescope, root, tmp_path, "nowhere", model=tmp_path / "nowhere")
    mistaken(saescope, root, tmp_path, "100", "64", context=100)
    mistaken(saescope, root, tmp_path, "room", context=1)
    centred = saescope("train", *source(root), "--centred", *SMALL, "--out", tmp_path / "out")
    told(centred, "centring")


def test_texts_that_cannot_be_read(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n{"text": null}\n')
    (tmp_path / "other.jsonl").write_text('{"content": "a", "title": "b"}\n')
    mistaken(saescope, root, tmp_path, "holds no text", texts=tmp_path / "empty.jsonl")
    mistaken(saescope, root, tmp_path, "no such file", texts=tmp_path / "none.parquet")
    mistaken(saescope, root, tmp_path, "contents", "content", texts=tmp_path / "other.jsonl", text_key="contents")
    mistaken(saescope, root, tmp_path, "'<|begn|>'", "<|begin|>", exclude_tokens="<|begn|>")
    mistaken(saescope, root, tmp_path, "test", "split", split="test")


def test_texts_of_all_kinds_are_read(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    """HTML, scripts, broken UTF-8, control characters, an empty document and one of a megabyte."""
    rows = [{"text": t} for t in ("<script>alert('x')</script>", "", "\0\x07 \u202e שלום", "日本語 👍🏽" * 20)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode() + b'{"text": "caf\xe9"}\n'
    (tmp_path / "odd.jsonl").write_bytes(content + json.dumps({"text": "many words " * 100_000}).encode())
    odd = source(root, texts=tmp_path / "odd.jsonl", max_tokens=4000)
    done = saescope("train", *odd, *SMALL, "--out", tmp_path / "tiny")
    assert done.code == 0, done.err
    built = saescope("build", tmp_path / "tiny", *odd, "--store", tmp_path / "store")
    assert built.code == 0, built.err


def test_a_tokenizer_of_another_model(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    small_model.save_model(tmp_path / "model", small_model.byte_level(300))
    small_model.byte_level(400).save_pretrained(tmp_path / "model")
    mistaken(saescope, root, tmp_path, "300 tokens", "belongs to another model", model=tmp_path / "model")


def test_a_model_without_room_on_the_disk(
    saescope: Saescope, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saescope.sources.hooked import activation_cache

    monkeypatch.setattr(activation_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    mistaken(saescope, root, tmp_path, "GiB", "--cache off")
    assert saescope("train", *source(root, cache="off"), *SMALL, "--out", tmp_path / "out").code == 0


def test_an_encoder_is_read_with_its_frame(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    from tests.sources.texts.test_vocabulary import word_piece

    tokenizer = word_piece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    (tmp_path / "a.txt").write_text("\f".join(["the walking. the walked the", "walk", "walking walking"] * 40))
    given = source(root, texts=tmp_path / "a.txt", model=tmp_path / "bert", context=8)
    done = saescope("train", *given, *SMALL, "--out", tmp_path / "tiny")
    assert done.code == 0, done.err
    about = native.read_config(tmp_path / "tiny")["training"]["source"]
    assert (about["bos"], about["eos"]) == (["[CLS]"], ["[SEP]"])
    assert about["excluded"] == {"[CLS] and [SEP] added to every item": 2 * about["n_items"]}
    assert saescope("build", tmp_path / "tiny", *given, "--store", tmp_path / "store").code == 0
    with FeatureStore(tmp_path / "store") as store:
        tokens = store["tiny"].table("items")["tokens"].to_pylist()
        assert all(row[0] == "[CLS]" and row[-1] == "[SEP]" for row in tokens)
        assert [" the", " walk", "ing", " .", " the", " walk"] in [row[1:-1] for row in tokens]
        assert np.isfinite(store["tiny"].metrics["fvu"])


def test_an_sae_away_from_where_it_was_trained(saescope: Saescope, root: Path, tmp_path: Path) -> None:
    """Another layer, or no BOS, is told first of all, and no advice on how the SAE might be read otherwise."""
    out = tmp_path / "tiny"
    assert saescope("train", *source(root), *SMALL, "--out", out).code == 0
    at_home = saescope("evaluate", out, *source(root, hook="model.layers.1"))
    assert at_home.code == 0
    assert "was trained on" not in at_home.err
    elsewhere = saescope("evaluate", out, *source(root, hook="blocks.0.hook_resid_post", bos="no"))
    assert elsewhere.code == 0
    assert "trained on blocks.1.hook_resid_post, the source reads --hook blocks.0.hook_resid_post" in elsewhere.err
    assert "--bos yes" in elsewhere.err
    assert "ikely mistake" not in elsewhere.err
    built = saescope("build", out, *source(root, hook="blocks.0.hook_resid_post"), "--store", tmp_path / "store")
    assert built.code == 0
    assert "the source reads --hook blocks.0.hook_resid_post" in built.err
    for command in (("evaluate", out), ("build", out, "--store", tmp_path / "other")):
        asked = saescope(*command, "--texts", root / "texts", "--model", root / "model")
        assert asked.code == 2
        assert "add --hook blocks.1.hook_resid_post" in asked.err
