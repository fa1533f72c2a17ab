"""Terminals of other encodings, closed streams, and names that are not UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saescope.sources import SourceOptions, open_source
from saescope.sources.texts.finding import find_texts
from saescope.store import FeatureStore
from saescope.store.errors import UserError

PROGRAM = [sys.executable, "-m", "saescope.cli"]
BAD = b"caf\xe9"


def run(
    *arguments: str | bytes, encoding: str = "utf-8", closed: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = " ".join(["exec", '"$@"', *(f"{number}>&-" for number in closed)])
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    given = ["bash", "-c", command, "bash", *PROGRAM, *arguments]
    return subprocess.run(given, capture_output=True, env=environment, timeout=120, cwd=cwd)


@pytest.fixture(scope="module")
def sae_id(store: Path) -> str:
    return FeatureStore(store).entries()[0].sae_id


@pytest.fixture(scope="module")
def store(digits_store: Path) -> Path:
    return digits_store


def test_bars_are_plain_where_the_terminal_has_none(store: Path, sae_id: str) -> None:
    name = "saescope show " + sae_id
    for encoding in ("latin-1", "ascii", "utf-8"):
        found = run("show", sae_id, "0", "--store", str(store), encoding=encoding)
        assert found.returncode == 0, (name, found.stderr)
        line = next(line for line in found.stdout.decode(encoding).splitlines() if line.startswith("histogram"))
        assert ("█" in line) == (encoding == "utf-8")
        assert "@" in line or encoding == "utf-8"


@pytest.mark.parametrize("command", [("ls",), ("show",), ("search", "digit"), ("verify",)])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_json_is_json_in_every_encoding(store: Path, sae_id: str, command: tuple[str, ...], encoding: str) -> None:
    given = [*command, sae_id] if command == ("show",) else list(command)
    found = run(*given, "--store", str(store), "--json", encoding=encoding)
    assert found.returncode == 0, found.stderr
    json.loads(found.stdout.decode(encoding))


@pytest.mark.parametrize("closed", ["1", "012"])
@pytest.mark.parametrize("command", [("search", "digit"), ("ls", "--json"), ("--help",)])
def test_closed_streams_are_no_failure(store: Path, command: tuple[str, ...], closed: str) -> None:
    given = [] if command == ("--help",) else ["--store", str(store)]
    found = run(*command, *given, closed=closed)
    assert found.returncode == 0, found.stderr
    assert b"Traceback" not in found.stderr


def test_arguments_that_are_not_utf8_are_told(store: Path, tmp_path: Path) -> None:
    for given in (
        (b"search", BAD, b"--store", str(store).encode()),
        (b"ls", b"--store", os.fsencode(tmp_path) + b"/" + BAD),
        (b"train", b"--images", BAD, b"--arch", b"topk", b"--k", b"2", b"--n-features", b"8", b"--out", b"x"),
    ):
        found = run(*given, cwd=tmp_path)
        assert found.returncode == 2, found.stderr
        assert b"caf\\udce9' is not valid UTF-8" in found.stderr
        assert b"Traceback" not in found.stderr
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="not valid UTF-8"):
        FeatureStore(tmp_path / os.fsdecode(BAD))
    with pytest.raises(UserError, match="not valid UTF-8"):
        SourceOptions(images=os.fsdecode(BAD))


def test_names_in_folders_are_replaced(tmp_path: Path) -> None:
    bad = os.fsdecode(BAD)
    texts, pictures = tmp_path / "texts", tmp_path / "pictures"
    for label in (bad, "tea"):
        (texts / label).mkdir(parents=True)
        (pictures / label).mkdir(parents=True)
        (texts / label / f"{bad}.txt").write_text("a text")
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(pictures / label / f"{bad}.png")
    documents = list(find_texts(SourceOptions(texts=str(texts), model="m", hook="h")).read(None))
    assert documents[0].values == {"file": "caf\ufffd/caf\ufffd.txt", "folder": "caf\ufffd"}
    source = open_source(SourceOptions(images=str(pictures)))
    assert source.metadata()["label"].to_pylist() == ["caf\ufffd", "tea"]
    assert source.item_table(np.arange(2))["file"].to_pylist() == ["caf\ufffd/caf\ufffd.png", "tea/caf\ufffd.png"]
    shards = tmp_path / "shards"
    shards.mkdir()
    np.save(shards / f"{bad}.npy", np.ones((3, 2), np.float32))
    assert open_source(SourceOptions(activations=str(shards))).n_items == 3
