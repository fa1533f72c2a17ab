"""Corpora in every format: what is read of them, and what is said of those that cannot be read."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.sources import SourceOptions
from saescope.sources.texts.documents import MAX_VALUE
from saescope.sources.texts.finding import find_texts
from saescope.store.errors import UserError

TEXTS = ["def f(x):\n    return x", "Grüße, “Welt”", "", "日本語のテキスト", "<script>alert(1)</script>"]
LANGUAGES = ["py", "de", None, "ja", "html"]


def read(path: Path | str, split: str | None = None, **options: object) -> list[tuple[str, dict]]:
    found = find_texts(SourceOptions(texts=str(path), model="m", hook="h", **options))
    return [("".join(d.parts), dict(d.values)) for d in found.read(split)]  # type: ignore[arg-type]


def told(path: Path | str, **options: object) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert caught.value.hint
    return caught.value.message, caught.value.hint


def write(root: Path, kind: str) -> Path:
    rows = [{"text": t, "language": lang} for t, lang in zip(TEXTS, LANGUAGES, strict=True)]
    path = root / f"corpus.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["language", "text"], dialect="excel-tab" if kind == "tsv" else "excel")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json", "jsonl.gz", "csv", "tsv"])
def test_tables_of_texts_with_metadata(tmp_path: Path, kind: str) -> None:
    documents = read(write(tmp_path, kind))
    assert [text for text, _ in documents] == TEXTS
    expected = ["" if lang is None and kind in ("csv", "tsv") else lang for lang in LANGUAGES]
    assert [values for _, values in documents] == [{"language": language} for language in expected]
    assert read(tmp_path) == documents


def test_parquet_keeps_numbers_and_passes_over_what_is_no_plain_value(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([5, None], pa.uint8()),
        "text": pa.array(["one", "two"], pa.large_string()).dictionary_encode(),
        "score": pa.array([0.5, 1.5], pa.float32()),
        "good": [True, False],
        "day": pa.array([0, 1], pa.date32()),
        "tags": [["a"], ["b"]],
        "tokens": ["x" * 900, "y"],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (text, values), second = read(tmp_path / "a.parquet")
    assert text == "one"
    assert {k: v for k, v in values.items() if k != "source_tokens"} == {
        "id": 5, "score": 0.5, "good": True, "day": "1970-01-01",
    }  # fmt: skip
    assert values["source_tokens"] == "x" * (MAX_VALUE - 1) + "…"
    assert second[1]["id"] is None


def test_text_that_is_not_utf8_becomes_replacement_characters(tmp_path: Path) -> None:
    bad = b"caf\xe9 \xff ok"
    (tmp_path / "a.txt").write_bytes(bad)
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "\\ud800 lone"}\n')
    (tmp_path / "c.csv").write_bytes(b"text\ncaf\xe9\n")
    strings = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, len(bad), 0, 0, 0])), pa.py_buffer(bad)]
    )
    pq.write_table(pa.table({"text": strings, "name": strings}), tmp_path / "d.parquet")
    assert read(tmp_path / "a.txt") == [("caf\ufffd \ufffd ok", {})]
    assert [t for t, _ in read(tmp_path / "b.jsonl")] == ["caf\ufffd", "\ufffd lone"]
    assert [t for t, _ in read(tmp_path / "c.csv")] == ["caf\ufffd"]
    assert read(tmp_path / "d.parquet") == [("caf\ufffd \ufffd ok", {"name": "caf\ufffd \ufffd ok"})]


def test_byte_order_marks_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("hello".encode("utf-8-sig"))
    (tmp_path / "b.txt").write_bytes("hellö".encode("utf-16"))
    (tmp_path / "c.csv").write_bytes("text\nhello\n".encode("utf-8-sig"))
    assert read(tmp_path / "a.txt") == [("hello", {})]
    assert read(tmp_path / "b.txt") == [("hellö", {})]
    assert read(tmp_path / "c.csv") == [("hello", {})]


def test_a_folder_of_files_with_subfolders_as_metadata(tmp_path: Path) -> None:
    for name in ("de/b10.txt", "de/b2.md", "fr/a.txt", "c.txt", ".hidden/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "fr" / "picture.png").write_bytes(b"\x89PNG\0\0")
    documents = read(tmp_path)
    assert [text for text, _ in documents] == ["c.txt", "de/b2.md", "de/b10.txt", "fr/a.txt"]
    assert [values["folder"] for _, values in documents] == [None, "de", "de", "fr"]
    assert [values["file"] for _, values in documents] == [text for text, _ in documents]


def test_separators_part_the_documents_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("one<|endoftext|>two\fthree<|endoftext|>")
    assert [text for text, _ in read(path)] == ["one", "two", "three", ""]


def test_separators_across_blocks_and_documents_longer_than_a_block(tmp_path: Path, monkeypatch) -> None:
    from saescope.sources.texts import plain

    parts = ["a" * 37, "", "é" * 61, "b", "ccc<|endof" * 9]
    path = tmp_path / "many.txt"
    path.write_text("<|endoftext|>".join(parts), encoding="utf-8")
    for block in range(1, 40):
        monkeypatch.setattr(plain, "_BLOCK", block)
        assert [text for text, _ in read(path)] == parts
        found = find_texts(SourceOptions(texts=str(path), model="m", hook="h"))
        assert sum(1 for _ in found.read(None)) == len(parts)  # also where nobody reads the documents


@pytest.mark.parametrize("kind", ["jsonl", "txt"])
def test_names_tell_the_splits(tmp_path: Path, kind: str) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test"):
        content = json.dumps({"text": name}) if kind == "jsonl" else name
        (tmp_path / f"{name}.{kind}").write_text(content)
    found = find_texts(SourceOptions(texts=str(tmp_path), model="m", hook="h"))
    assert tuple(found.splits) == ("train", "test")
    assert [text for text, _ in read(tmp_path, "train")] == ["train-00000-of-00002", "train-00001-of-00002"]
    assert [text for text, _ in read(tmp_path, "test")] == ["test"]
    assert len(read(tmp_path, "all")) == 3
    assert found.fingerprint("train") != found.fingerprint("test")


def test_the_column_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"title": "t", "content": "c", "n": 1}\n')
    assert read(path) == [("c", {"title": "t", "n": "1"})]
    assert read(path, text_key="title") == [("t", {"content": "c", "n": "1"})]
    message, hint = told(path, text_key="contents")
    assert "no column 'contents'; did you mean 'content'?" in message
    assert "title, content, n" in hint
    assert "'n' is int; expected a text" in told(path, text_key="n")[0]
    path.write_text('{"left": "a", "right": "b"}\n')
    message, hint = told(path)
    assert "cannot tell which column holds the texts: left, right" in message
    assert "--text-key" in hint
    path.write_text('{"n": 1}\n')
    assert "no column holds texts" in told(path)[0]
    pq.write_table(pa.table({"n": [1]}), tmp_path / "b.parquet")
    assert "no column holds texts" in told(tmp_path / "b.parquet")[0]
    assert "column 'n' is int64; expected texts" in told(tmp_path / "b.parquet", text_key="n")[0]


def test_missing_empty_and_unknown_paths(tmp_path: Path) -> None:
    assert "no such file or folder" in told(tmp_path / "none")[0]
    assert "hf:owner/name" in told("owner/name")[1]
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in told(tmp_path / "empty")[0]
    (tmp_path / "a.txt").touch()
    assert "is empty" in told(tmp_path / "a.txt")[0]
    (tmp_path / "binary").write_bytes(b"ELF\0\1")
    assert "not text (it holds NUL bytes)" in told(tmp_path / "binary")[0]
    (tmp_path / "empty" / "x").write_bytes(b"\0")
    assert "holds no texts (found x)" in told(tmp_path / "empty")[0]
    with pytest.raises(UserError, match="expected embedded:python"):
        read("embedded:shakespeare")
    with pytest.raises(UserError, match="it means nothing for embedded:python"):
        read("embedded:python", text_key="text")


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(write(tmp_path, "parquet").read_bytes()[:-20])
    assert "not a whole Parquet file" in told(tmp_path / "a.parquet")[0]
    packed = write(tmp_path, "jsonl.gz").read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    assert "damaged gzip" in told(tmp_path / "b.jsonl.gz")[0]
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"text": \n')
    assert "line 2 is no JSON" in told(tmp_path / "c.jsonl")[0]
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n[1]\n')
    assert "line 2 is list, not an object" in told(tmp_path / "c.jsonl")[0]
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n' + "[" * 100_000 + "\n")
    assert "line 2" in told(tmp_path / "c.jsonl")[0]
    (tmp_path / "d.csv").write_text("text,n\na,b,c\n")
    assert "line 2 has more values" in told(tmp_path / "d.csv")[0]
    (tmp_path / "files").mkdir()
    write(tmp_path / "files", "parquet")
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "files" / "b.parquet")
    with pytest.raises(UserError, match="columns differ"):
        read(tmp_path / "files")


def test_data_sets_of_the_hub_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message, hint = told("hf:owner/name")
    assert "package datasets" in message
    assert "pip install datasets" in hint


class _Hub:
    """Stands in for the package datasets and the hub's client: two streamed splits."""

    def load_dataset(self, path: str, configuration: str | None, streaming: bool) -> dict[str, list[dict]]:
        assert streaming
        if path != "owner/name":
            raise ConnectionError("Couldn't reach the hub\nand more")
        row = {"text": "hello \ud800", "url": "u", "n": 3, "none": None, "tags": ["a"]}
        return {"train": [row, {**row, "text": None}], "validation": [{**row, "text": configuration}]}

    def dataset_info(self, path: str) -> object:
        return type("Info", (), {"sha": f"commit of {path}"})


def test_data_sets_of_the_hub_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import importlib.util

    import huggingface_hub

    plain_find, plain_import = importlib.util.find_spec, importlib.import_module
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: _Hub if n == "datasets" else plain_find(n, *a))
    monkeypatch.setattr(importlib, "import_module", lambda n, *a: _Hub() if n == "datasets" else plain_import(n, *a))
    monkeypatch.setattr(huggingface_hub, "HfApi", _Hub)
    values = {"url": "u", "n": "3", "none": None}
    assert read("hf:owner/name", "train") == [("hello \ufffd", values), ("", values)]
    assert read("hf:owner/name:small", "test") == [("small", values)]
    found = find_texts(SourceOptions(texts="hf:owner/name", model="m", hook="h"))
    assert tuple(found.splits) == ("train", "test")
    assert found.fingerprint("train") != found.fingerprint("test")
    message, hint = told("hf:owner/other")
    assert message.endswith("cannot be read from the hub (Couldn't reach the hub)")
    assert "--texts FOLDER" in hint


def test_pythons_own_texts() -> None:
    documents = read("embedded:python")
    kinds = {kind: [t for t, v in documents if v["kind"] == kind] for kind in ("reference", "docstring", "source")}
    assert min(len(found) for found in kinds.values()) > 50
    assert min(len(text.strip()) for text, _ in documents) > 0
    modules = {values["module"] for _, values in documents}
    assert {"json.decoder", "pathlib", "heapq"} <= modules
    source = "".join(t for t, v in documents if v == {"kind": "source", "module": "heapq"})
    assert "def heappush(heap, item):" in source
    assert "Push item onto heap, maintaining the heap invariant." not in source
    assert any("Push item onto heap" in t for t, v in documents if v["kind"] == "docstring")


RECORDS = [{"text": f"text {i}", "author": "ab"[i]} for i in range(2)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_file_that_is_one_object(tmp_path: Path, indent: int | None, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"

    def texts(whole: object, **given: str) -> list[str]:
        path.write_text(json.dumps(whole, indent=indent) + "\n\n")
        return [text for text, _ in read(path, **given)]

    wanted = ["text 0", "text 1"]
    assert texts({"data": RECORDS}) == wanted
    assert texts({"version": "1.0", "splits": ["a"], "n": 2, "data": RECORDS}) == wanted
    assert texts({"rows": [{"story": text} for text in wanted]}) == wanted
    assert texts({"text": "whole", "spans": [{"start": 1}]}) == ["whole"]
    assert texts({"text": "whole", "data": RECORDS}, text_key="author") == ["a", "b"]
    assert texts({"story": "whole", "data": [{"name": "x"}]}, text_key="story") == ["whole"]
    assert texts({"story": "whole"}) == ["whole"]
    assert texts({"a": RECORDS, "b": [{"n": 1}]}) == wanted
    with pytest.raises(UserError, match="several lists of records: train, test"):
        texts({"train": RECORDS, "test": RECORDS})
    with pytest.raises(UserError, match="may be its version or the records of data") as caught:
        texts({"version": "1.0", "data": [{"title": "x", "n": 1}]})
    assert "--text-key" in str(caught.value.hint)
    with pytest.raises(UserError, match="no column holds texts"):
        texts({"data": []})


def test_broken_json_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n {"text": "a"},\n {"text": b}\n]}')
    with pytest.raises(UserError, match="line 3 is no JSON"):
        read(path)
    path.write_text('{\n "text": "a"\n}\n{\n "text": "b"\n}')
    with pytest.raises(UserError, match=r"line 4 is no JSON \(Extra data\)"):
        read(path)
