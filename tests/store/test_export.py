"""Exports hold everything that the tables hold, and appear whole or not at all."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.store import Entry, FeatureStore, StoreError, UserError
from saescope.store.errors import StorageError
from saescope.store.read.export import export


@pytest.fixture
def entry(store: FeatureStore) -> Entry:
    return store["digits-patches"]


def plain(value: Any) -> Any:
    """A value as JSON holds it."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def test_parquet_is_the_record_itself(entry: Entry, tmp_path: Path) -> None:
    written = export(entry, "parquet", tmp_path / "out")
    assert [p.name for p in written] == sorted([f"{t}.parquet" for t in entry.tables] + ["manifest.json"])
    for table in entry.tables:
        digest = hashlib.sha256((tmp_path / "out" / f"{table}.parquet").read_bytes()).hexdigest()
        assert digest == entry.manifest.files[f"{table}.parquet"]["sha256"]
    assert (tmp_path / "out" / "manifest.json").read_text() == entry.paths.manifest.read_text()


def test_json_lines_hold_every_value(entry: Entry, tmp_path: Path) -> None:
    export(entry, "jsonl", tmp_path / "out")
    for name in entry.tables:
        table = entry.table(name)
        lines = [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        assert lines == [{k: plain(v) for k, v in row.items()} for row in table.to_pylist()]


def test_csv_holds_every_value(entry: Entry, tmp_path: Path) -> None:
    export(entry, "csv", tmp_path / "out")
    for name in entry.tables:
        table = entry.table(name)
        with (tmp_path / "out" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == table.num_rows
        for text, row in zip(rows, table.to_pylist(), strict=True):
            for column in table.schema:
                value, written = row[column.name], text[column.name]
                if value is None:
                    assert written == ""
                elif pa.types.is_list(column.type):
                    assert json.loads(written) == value
                elif pa.types.is_boolean(column.type):
                    assert written == str(value).lower()
                elif pa.types.is_float32(column.type):
                    assert np.float32(written) == np.float32(value)
                elif pa.types.is_floating(column.type):
                    assert float(written) == value
                else:
                    assert written == str(plain(value))


def test_one_table_can_be_one_file(entry: Entry, tmp_path: Path) -> None:
    assert export(entry, "csv", tmp_path / "a" / "f.csv", ["features"]) == [tmp_path / "a" / "f.csv"]
    assert len((tmp_path / "a" / "f.csv").read_text().splitlines()) == 65
    assert export(entry, "parquet", tmp_path / "folder", ["features"]) == [tmp_path / "folder" / "features.parquet"]
    assert pq.read_table(tmp_path / "folder" / "features.parquet").equals(entry.table("features"))
    with pytest.raises(UserError, match=r"does not end in \.jsonl"):
        export(entry, "jsonl", tmp_path / "x.csv", ["features"])


def test_an_export_refuses_what_it_cannot_do(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export(entry, "csv", tmp_path / "there")
    with pytest.raises(UserError, match="no export format 'xlsx'"):
        export(entry, "xlsx", tmp_path / "out")
    with pytest.raises(UserError, match="no table 'top_logits'"):
        export(entry, "csv", tmp_path / "out", ["features", "top_logits"])
    with pytest.raises(UserError, match="no table to export"):
        export(entry, "csv", tmp_path / "out", [])
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a file is where a folder should be"):
        export(entry, "csv", tmp_path / "file" / "out")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists already"):
        export(entry, "csv", tmp_path / "dangling")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "file", "there"]


def test_a_failed_export_leaves_nothing(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saescope.store.read import export as module

    real = module._write

    def failing(of: Entry, name: str, format: str, out: Path) -> None:
        if name == "items":
            raise OSError(28, "No space left on device")
        real(of, name, format, out)

    monkeypatch.setattr(module, "_write", failing)
    with pytest.raises(StorageError, match="the disk is full"):
        export(entry, "jsonl", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_gone_is_told(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(entry.paths), "table", lambda self, name: tmp_path / "gone.parquet")
    with pytest.raises(StoreError, match="is missing"):
        export(entry, "csv", tmp_path / "out")


def test_names_of_metadata_columns_are_data(tmp_path: Path, parts: list[Path]) -> None:
    from saescope.store.write.writer import EntryWriter
    from tests.store.tiny import table_of, write_parts

    odd = 'a "b"; DROP TABLE items; --'
    items = table_of(parts[0], "items")
    with EntryWriter(tmp_path / "store", "odd", "key") as writer:
        writer.write_table("items", items.append_column(odd, pa.array([f"x'{i}" for i in range(items.num_rows)])))
        writer.publish(write_parts(writer, parts[0]))
    with FeatureStore(tmp_path / "store") as store:
        entry = store["odd"]
        item = entry.item(entry.sample_item_ids()[0])
        assert item.metadata[odd].startswith("x'")
        export(entry, "csv", tmp_path / "items.csv", ["items"])
        with (tmp_path / "items.csv").open(newline="") as file:
            assert next(csv.DictReader(file))[odd] == "x'0"
