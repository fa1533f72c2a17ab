"""Verify finds what the tables of texts may break."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.store import FeatureStore
from saescope.store.format.paths import StorePaths, VersionPaths
from tests.store.test_verify import Edit, first, problems, put, rewrite

ENTRY = "texts-topk-k4"


@pytest.fixture
def version(texts_store: Path, tmp_path: Path) -> VersionPaths:
    """The live version of one entry in a copy of the store that holds it alone, files writable."""
    root, source = tmp_path / "store", StorePaths(texts_store)
    shutil.copytree(source.entry(ENTRY).root, StorePaths(root).entry(ENTRY).root)
    shutil.copy(source.marker, root)
    paths = FeatureStore(root)[ENTRY].paths
    for path in paths.root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return paths


def repeat_token(rows: list[dict[str, Any]]) -> None:
    rows[1]["token_id"] = rows[0]["token_id"]


def lengthen_window(row: dict[str, Any]) -> None:
    row["window_activations"] += [0.0] * 64


@pytest.mark.parametrize(
    ("table", "edit", "words"),
    [
        ("top_tokens", lambda rows: rows[-1].update(feature_id=96), "feature_id is not within 0 to 95"),
        ("top_tokens", lambda rows: rows.pop(0), "ranks do not count from 0"),
        ("top_tokens", put(lambda r: r["rank"] == 1, n_firing=10**6), "n_firing rises with the rank"),
        ("top_tokens", put(n_firing=0), "n_firing or n_token is not possible"),
        ("top_tokens", put(n_token=10**6), "n_firing or n_token is not possible"),
        ("top_tokens", repeat_token, "lists a token twice"),
        ("top_tokens", put(n_firing=9_000, n_token=9_000), "more firings on tokens than the feature has"),
        ("top_tokens", put(lift=1.0), "lift does not follow"),
        ("top_logits", lambda rows: [r.update(sign=2) for r in rows if r["sign"] > 0], "sign is neither"),
        ("top_logits", lambda rows: rows[-1].update(feature_id=96), "feature_id is not within 0 to 95"),
        ("top_logits", lambda rows: rows.pop(0), "ranks do not count from 0"),
        ("top_logits", put(lambda r: r["rank"] == 3, logit=-1e6), "stronger than that of the rank before"),
        ("top_logits", put(lambda r: r["rank"] == 3 and r["sign"] == 1, logit=1e6), "stronger than that of the rank"),
        ("items", put(token_ids=[1]), "token_ids and tokens differ in length"),
        ("examples", put(position=64), "position is behind the item's last token"),
        ("examples", first(lengthen_window), "the window is longer than the item"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_found(version: VersionPaths, table: str, edit: Edit, words: str) -> None:
    original = pq.read_table(version.table(table))
    rows = original.to_pylist()
    edit(rows)
    rewrite(version, table, pa.Table.from_pylist(rows, schema=original.schema))
    found = [p for p in problems(version) if f"{table}.parquet" in p]
    assert any(words in p for p in found), found


@pytest.mark.parametrize("table", ["top_tokens", "top_logits"])
def test_empty_tables_are_no_fault(version: VersionPaths, table: str) -> None:
    rewrite(version, table, pq.read_table(version.table(table)).slice(0, 0))
    assert not [p for p in problems(version) if f"{table}.parquet" in p]
