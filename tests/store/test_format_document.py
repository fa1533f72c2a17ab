"""docs/store-format.md says what the schema, the manifest and the journal are."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from saescope.store import FeatureStore
from saescope.store.annotations import Annotations
from saescope.store.format.anomaly_tables import ANOMALY_TABLES, ReportManifest
from saescope.store.format.manifest import Manifest
from saescope.store.format.schema import FORMAT_NAME, FORMAT_VERSION, TABLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "store-format.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def type_name(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def section(text: str, title: str) -> str:
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match.group(2)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_documented(text: str, name: str) -> None:
    table, part = TABLES[name], section(text, f"{name}.parquet")
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (yes|no) \| (.+) \|$", part, re.MULTILINE)
    documented = [(column, kind, null) for column, kind, null, _ in rows]
    assert documented == [(c.name, type_name(c.type), "yes" if c.nullable else "no") for c in table.columns]
    assert [meaning.replace("\\|", "|") for *_, meaning in rows] == [c.doc for c in table.columns]
    order = ", ".join(f"`{key}`" for key in table.sorted_by)
    assert f"Sorted by {order}; {'required' if table.required else 'optional'}" in part
    assert ("more columns may follow" in part) == table.open


def test_no_table_is_documented_that_does_not_exist(text: str) -> None:
    assert re.findall(r"^### (\w+)\.parquet$", text, re.MULTILINE) == list(TABLES)


def test_every_field_of_the_manifest_is_documented(text: str) -> None:
    first_cells = re.findall(r"^\| (.+?) \|", section(text, "manifest.json"), re.MULTILINE)
    documented = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(f.name for f in fields(Manifest))


def test_the_journal_is_documented(text: str, tmp_path: Path) -> None:
    journal = Annotations(tmp_path / "annotations.sqlite")
    journal.star("a", 1)
    journal.close()
    connection = sqlite3.connect(tmp_path / "annotations.sqlite")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
    connection.close()
    assert re.findall(r"^\| `(\w+)` \|", section(text, "annotations.sqlite"), re.MULTILINE) == columns


def test_the_marker_is_documented(text: str) -> None:
    assert f'{{"format": "{FORMAT_NAME}", "format_version": {FORMAT_VERSION}}}' in text


def test_the_example_runs(text: str, digits_store: Path) -> None:
    code = re.search(r"```python\n(.*?)```", section(text, "Reading it without saescope"), re.DOTALL)
    assert code is not None
    *lines, last = (
        code.group(1).replace("STORE", str(digits_store)).replace("mnist-topk", "digits-topk").strip().split("\n")
    )
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    with FeatureStore(digits_store) as store:
        assert eval(last, names) == store["digits-topk-k16"].metrics


@pytest.mark.parametrize("name", ANOMALY_TABLES)
def test_every_column_of_a_report_is_documented(text: str, name: str) -> None:
    table, part = ANOMALY_TABLES[name], section(text, f"anomalies/{name}.parquet")
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (yes|no) \| (.+) \|$", part, re.MULTILINE)
    assert rows == [(c.name, type_name(c.type), "yes" if c.nullable else "no", c.doc) for c in table.columns]
    assert ("more columns may follow" in part) == table.open


def test_every_field_of_a_reports_manifest_is_documented(text: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section(text, "Anomaly reports"), re.MULTILINE)
    assert rows == [f.name for f in fields(ReportManifest)]
