"""Denoised items: reads give their rows, and verify finds what is wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from saescope.store import Entry, FeatureStore, StoreError
from saescope.store.check.verification import verify
from saescope.store.format.schema import schema_of
from saescope.store.write.writer import EntryWriter
from tests.store.tiny import SAE_ID, write_parts

Rows = list[dict[str, Any]]


def denoising(items: list[int]) -> Rows:
    methods = ("corrupted", "median", "median+curve", "model")
    return [
        {"item_id": i, "level": level, "method": m, "values": [0.5] * 64, "psnr": 20.0 + j, "ssim": 0.5}
        for i in items
        for level in (0.0, 0.4)
        for j, m in enumerate(methods)
    ]


def means() -> Rows:
    return [
        {"level": level, "method": m, "parameters": "", "psnr": None, "ssim": 0.5, "n_items": 100}
        for level in (0.0, 0.4)
        for m in ("corrupted", "model")
    ]


def published(root: Path, part: Path, change: Callable[[Rows, Rows], None] = lambda items, rows: None) -> Entry:
    with FeatureStore(part.parents[2]) as store:
        items = denoising(store[SAE_ID].table("items")["item_id"].to_pylist()[:2])
    metrics = means()
    change(items, metrics)
    with EntryWriter(root, SAE_ID, "0" * 64) as writer:
        manifest = write_parts(writer, part)
        writer.write_table("denoising", pa.Table.from_pylist(items, schema=schema_of("denoising")))
        writer.write_table("denoising_metrics", pa.Table.from_pylist(metrics, schema=schema_of("denoising_metrics")))
        writer.publish(manifest)
    return FeatureStore(root)[SAE_ID]


def test_denoised_items_are_read_by_item_and_level(parts: list[Path], tmp_path: Path) -> None:
    entry = published(tmp_path / "store", parts[0])
    first = entry.denoised_item_ids()[0]
    assert entry.noise_levels() == [0.0, 0.4]
    rows = entry.denoised(first, 0.4).to_pylist()
    assert [row["method"] for row in rows] == ["corrupted", "median", "median+curve", "model"]
    assert {row["item_id"] for row in rows} == {first}
    assert len(rows[0]["values"]) == 64
    found = entry.denoising_metrics()
    assert found is not None
    assert found.num_rows == 4
    assert verify(tmp_path / "store") == []


def test_an_entry_without_denoised_items_says_so(store: FeatureStore) -> None:
    entry = store["digits-relu"]
    assert entry.denoised_item_ids() == entry.noise_levels() == []
    assert entry.denoising_metrics() is None
    with pytest.raises(StoreError, match="no denoised items"):
        entry.denoised(0, 0.4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda items, _: items[0].update(level=-1.0), "level is negative"),
        (lambda items, _: items[0].update(values=[0.5]), "values has not the 64 values"),
        (lambda items, _: items[0].update(item_id=-3), "item_id is not in items"),
        (lambda items, _: items.pop(0), "a level has no corrupted item"),
        (lambda _, rows: rows[0].update(ssim=2.0), "ssim is not within"),
        (lambda _, rows: rows[0].update(n_items=0), "n_items is below 1"),
        (lambda _, rows: rows.pop(0), "a level has no corrupted item"),
    ],
)
def test_a_wrong_number_is_found(
    parts: list[Path], tmp_path: Path, change: Callable[[Rows, Rows], None], words: str
) -> None:
    published(tmp_path / "store", parts[0], change)
    found = [str(fault) for fault in verify(tmp_path / "store")]
    assert any(words in fault for fault in found), found
