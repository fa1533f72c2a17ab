"""What a user gets wrong: exit code 2, one or two lines, nothing written."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from saescope.store import FeatureStore
from tests.cli.conftest import Outcome, Saescope


def told(done: Outcome, *words: str) -> None:
    """A mistake told as it should be, with `words` in it."""
    assert done.code == 2, done.err
    assert done.out == ""
    assert 1 <= len(done.err.splitlines()) <= 2
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err


@pytest.fixture
def checkpoint(digits_store: Path) -> Path:
    """A linear SAE of whole digits, 64 features."""
    return FeatureStore(digits_store)["digits-topk-k4"].paths.checkpoint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nope"), ("nope", "digits-topk-k4")),
        (("show", "../digits"), ("../digits",)),
        (("show", "digits-topk-k4", "64"), ("64", "0 to 63")),
        (("show", "digits-topk-k4", "seven"), ("seven",)),
        (("search", "density >"), ("density",)),
        (("search", "colour > 3"), ("colour",)),
        (("search", "#3", "--sae-id", "nope"), ("nope",)),
        (("verify", "nope"), ("nope",)),
        (("export", "nope", "--format", "csv", "--out", "x"), ("nope",)),
        (("export", "digits-topk-k4", "--format", "csv", "--out", "x", "--table", "nope"), ("nope",)),
    ],
)
def test_unknown_entries_features_columns_and_tables(
    saescope: Saescope, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words
) -> None:
    monkeypatch.chdir(tmp_path)
    told(saescope(*arguments, "--store", store), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("show", "a"),
        ("search", "a"),
        ("verify",),
        ("export", "a", "--format", "csv", "--out", "x"),
        ("serve",),
    ],
    ids=lambda a: a[0],
)
def test_paths_that_are_no_store(saescope: Saescope, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    told(saescope(*arguments, "--store", tmp_path / "missing"), "missing")
    (tmp_path / "file").write_text("")
    told(saescope(*arguments, "--store", tmp_path / "file"), "file")
    (tmp_path / "folder").mkdir()
    told(saescope(*arguments, "--store", tmp_path / "folder"), "store.json")
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "store.json").write_text(json.dumps({"format": "saescope-store", "format_version": 99}))
    told(saescope(*arguments, "--store", newer), "99")


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use(saescope: Saescope, store: Path) -> None:
    with taken_port() as port:
        told(saescope("serve", "--store", store, "--port", port), str(port), "in use")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--images",)),
        (("--images", "nowhere.npy"), ("nowhere.npy",)),
        (("--images", "embedded:cats"), ("cats", "embedded:digits")),
        (("--images", "embedded:digits", "--activations", "x.npy"), ("both",)),
        (("--images", "embedded:digits", "--stride", "2"), ("stride", "--patch")),
        (("--images", "embedded:digits", "--patch", "99"), ("99",)),
        (("--images", "embedded:digits", "--split", "test"), ("split",)),
        (("--images", "embedded:digits", "--patch", "4"), ("16", "64")),
    ],
)
def test_sources_that_cannot_be_read_or_do_not_fit(
    saescope: Saescope, checkpoint: Path, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    told(saescope("evaluate", checkpoint, *arguments), *words)
    told(saescope("build", checkpoint, *arguments, "--store", tmp_path / "store"), *words)


def test_notes_do_not_stand_before_a_mistake(saescope: Saescope, checkpoint: Path, tmp_path: Path) -> None:
    deep = np.arange(6 * 16, dtype=np.uint16).reshape(6, 4, 4) * 300
    np.savez(tmp_path / "deep.npz", x_train=deep, x_test=deep, other=deep)
    deep_source = ("--images", tmp_path / "deep.npz", "--data-key", "x_train")
    told(saescope("build", checkpoint, *deep_source, "--store", tmp_path / "store"), "16", "64")
    told(saescope("evaluate", checkpoint, *deep_source), "16", "64")
    train = ("train", *deep_source, "--arch", "topk", "--k", "2", "--n-features", "8", "--steps", "1", "--out")
    told(saescope(*train, checkpoint), "holds")
    trained = saescope(*train, tmp_path / "run")
    assert trained.code == 0
    assert "note: " in trained.err
    for split in ("train", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        (tmp_path / "pictures" / split / "a.png").write_bytes(b"no picture")
    told(saescope("evaluate", checkpoint, "--images", tmp_path / "pictures"), "not a picture")


def test_checkpoints_that_cannot_be_read(saescope: Saescope, checkpoint: Path, tmp_path: Path) -> None:
    source = ("--images", "embedded:digits")
    told(saescope("evaluate", tmp_path / "missing", *source), "missing")
    (tmp_path / "empty").mkdir()
    told(saescope("evaluate", tmp_path / "empty", *source), "empty")
    told(saescope("evaluate", checkpoint, *source, "--format", "nope"), "nope", "native")
    told(saescope("evaluate", checkpoint, *source, "--device", "tpu"), "tpu")
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    (truncated / "cfg.json").write_bytes((checkpoint / "cfg.json").read_bytes())
    (truncated / "sae.safetensors").write_bytes((checkpoint / "sae.safetensors").read_bytes()[:-100])
    told(saescope("evaluate", truncated, *source), "sae.safetensors")


def test_names_that_cannot_be_an_entry(saescope: Saescope, checkpoint: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build = ("build", checkpoint, "--images", "embedded:digits", "--store", store)
    told(saescope(*build, "--sae-id", "../escape"), "../escape")
    told(saescope(*build, "--sae-id", ""), "''")
    assert not store.exists()
    odd = tmp_path / "an odd name"
    odd.mkdir()
    told(saescope("build", odd, "--images", "embedded:digits", "--store", store), "an odd name", "--sae-id")


def test_a_store_that_cannot_be_built_into(saescope: Saescope, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    build = ("build", checkpoint, "--images", "embedded:digits", "--store")
    told(saescope(*build, tmp_path / "file"), "file")
    assert (tmp_path / "file").read_text() == "kept"
    told(saescope(*build, tmp_path), "not empty")


def train(saescope: Saescope, out: Path, *arguments: str) -> Outcome:
    return saescope("train", "--images", "embedded:digits", *arguments, "--out", out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arch", "tpok", "--n-features", "8", "--k", "2"), ("tpok", "topk")),
        (("--arch", "topk", "--n-features", "8"), ("--k",)),
        (("--arch", "topk", "--n-features", "8", "--l1", "2"), ("--k", "--l1")),
        (("--arch", "topk", "--n-features", "8", "--k", "9"), ("9", "8")),
        (("--arch", "topk", "--n-features", "0", "--k", "1"), ("0",)),
        (("--arch", "relu", "--n-features", "8", "--l1", "-1"), ("-1",)),
        (("--arch", "relu", "--n-features", "8", "--l1", "nan"), ("nan",)),
        (("--arch", "kl", "--n-features", "8", "--rho", "1"), ("rho",)),
        (("--arch", "topk", "--k", "2"), ("--n-features",)),
        (("--arch", "topk", "--n-features", "8", "--k", "2", "--steps", "0"), ("steps", "0")),
        (("--arch", "topk", "--n-features", "8", "--k", "2", "--lr", "-1"), ("lr", "-1")),
    ],
)
def test_settings_of_training(saescope: Saescope, tmp_path: Path, arguments: tuple[str, ...], words) -> None:
    told(train(saescope, tmp_path / "out", *arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("", ("values",)),
        ("4,x", ("4,x",)),
        ("2.5", ("2.5",)),
        ("4,4", ("digits-topk-k4", "twice")),
        ("4,99", ("99", "16")),
        ("nan", ("nan",)),
    ],
)
def test_values_of_a_sweep(saescope: Saescope, tmp_path: Path, values: str, words: tuple[str, ...]) -> None:
    sweep = ("sweep", "--images", "embedded:digits", "--arch", "topk", "--n-features", "16", "--store", tmp_path / "s")
    told(saescope(*sweep, "--name", "digits", "--values", values), *words)
    assert list(tmp_path.iterdir()) == []


def test_architectures_that_can_be_built_but_not_trained(saescope: Saescope, tmp_path: Path) -> None:
    common = ("--images", "embedded:digits", "--arch", "tanhrelu", "--n-features", "16")
    told(saescope("train", *common, "--out", tmp_path / "run"), "tanhrelu", "cannot be trained", "topk")
    sweep = ("sweep", *common, "--store", tmp_path / "s", "--name", "digits", "--values", "4")
    told(saescope(*sweep), "tanhrelu", "cannot be trained", "topk")


def test_names_of_a_sweep(saescope: Saescope, tmp_path: Path) -> None:
    sweep = ("sweep", "--images", "embedded:digits", "--arch", "topk", "--n-features", "16", "--store", tmp_path / "s")
    told(saescope(*sweep, "--name", "../up", "--values", "4"), "../up")
    assert list(tmp_path.iterdir()) == []
