"""Compressed texts of every format, and what of a folder is not read."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pytest

from saescope.sources import SourceOptions, open_source, streams
from saescope.sources.texts.finding import find_texts
from saescope.store.errors import UserError

TEXTS = [f"document number {i}" for i in range(50)]
CONTENT = {
    "jsonl": "\n".join(json.dumps({"text": t}) for t in TEXTS),
    "json": json.dumps([{"text": t} for t in TEXTS], indent=1),
    "csv": "text\n" + "\n".join(TEXTS),
    "tsv": "id\ttext\n" + "\n".join(f"1\t{t}" for t in TEXTS),
    "txt": "\f".join(TEXTS),
}


def packed(data: bytes, suffix: str) -> bytes:
    if suffix == "zst":
        return bytes(pa.Codec("zstd").compress(data, asbytes=True))
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[suffix](data)


def found(path: Path):
    return find_texts(SourceOptions(texts=str(path), model="m", hook="h"))


def texts(path: Path) -> list[str]:
    return ["".join(document.parts) for document in found(path).read(None)]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst"])
@pytest.mark.parametrize("kind", list(CONTENT))
def test_every_format_unpacks(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"documents.{kind}.{suffix}"
    data = packed(CONTENT[kind].encode(), suffix)
    path.write_bytes(data)
    assert texts(path) == texts(tmp_path) == TEXTS
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"documents.*damaged (gzip|bzip2|xz|zstd)"):
        texts(path)


def test_members_one_after_another_are_one_file(tmp_path: Path) -> None:
    for suffix in ("gz", "bz2", "xz", "zst"):
        path = tmp_path / f"a.txt.{suffix}"
        path.write_bytes(packed(b"one ", suffix) + packed(b"two", suffix))
        assert texts(path) == ["one two"]


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "dataset_infos.json").write_text("{}")
    (tmp_path / "a.csv").write_text("text\nhello\n")
    assert texts(tmp_path) == ["hello"]
    assert any("not read" in note and "README.md" in note for note in found(tmp_path).notes())
    (tmp_path / "b.parquet.zst").write_bytes(packed(b"PAR1", "zst"))
    with pytest.raises(UserError, match="compressed as a whole"):
        texts(tmp_path)


def test_lines_and_arrays_that_unpack_to_much_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SMALL", 10_000)
    for kind, text in (
        ("jsonl", '{"text": "' + "a" * 3_000_000 + '"}'),
        ("json", "[" + "\n" * 3_000_000 + "]"),
        ("csv", "text\n" + "a" * 3_000_000),
    ):
        path = tmp_path / f"a.{kind}.gz"
        path.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(UserError, match="unpacks to more than") as caught:
            texts(path)
        assert "unpack the file first" in str(caught.value.hint)
        (tmp_path / f"b.{kind}").write_text(text)
        if kind != "json":
            assert sum(map(len, texts(tmp_path / f"b.{kind}"))) == 3_000_000


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "pipe.jsonl", Path("/dev/zero")):
        for options in (
            {"texts": str(path), "model": "m", "hook": "h"},
            {"images": str(path)},
            {"activations": str(path)},
        ):
            with pytest.raises(UserError, match="pipe, a device or a socket"):
                open_source(SourceOptions(**options))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    assert texts(tmp_path) == ["a"]
