"""A hash of what a source yields, and the look at every value that comes with reading it once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from saescope.store.errors import DataError


@dataclass(frozen=True)
class Scan:
    """One look at all values: their hash and range, in stored units."""

    sha256: str
    low: float
    high: float


def scan(
    blocks: Iterable[np.ndarray],
    *,
    n_items: int,
    item_shape: Sequence[int],
    value_range: tuple[float, float] | None,
    subject: str,
    axes: Sequence[str],
) -> Scan:
    """Hash all items and refuse values that are not finite.

    `blocks` hold whole items in order, uint8 or float32, `[item, *item_shape]`. The hash covers dtype, shape, the
    `value_range` that stored values are mapped from, and the values; not the file format, path, labels or how items
    are cut into patches. `subject` and `axes` (a name per axis of an item) word the error.
    """
    digest = hashlib.sha256()
    low, high = np.inf, -np.inf
    seen = 0
    for block in blocks:
        if seen == 0:
            header = {
                "dtype": block.dtype.newbyteorder("<").str.lstrip("|<"),
                "shape": [n_items, *item_shape],
                "range": value_range,
            }
            digest.update(b"saescope-items-1\n" + json.dumps(header, sort_keys=True).encode() + b"\n")
        if block.size:
            block_low, block_high = float(block.min()), float(block.max())  # a NaN makes both NaN
            if not (np.isfinite(block_low) and np.isfinite(block_high)):
                _refuse(block, seen, subject, axes)
            low, high = min(low, block_low), max(high, block_high)
        digest.update(np.ascontiguousarray(block).data.cast("B"))
        seen += len(block)
    if seen != n_items:
        raise DataError(f"{subject}: {seen:,} items were read where {n_items:,} are announced", "is it being written?")
    return Scan(digest.hexdigest(), low, high)


def _refuse(block: np.ndarray, first_item: int, subject: str, axes: Sequence[str]) -> None:
    bad = ~np.isfinite(block)
    where = np.argwhere(bad)[0]
    value = block[tuple(where)]
    place = ", ".join([f"item {first_item + where[0]}", *(f"{a} {i}" for a, i in zip(axes, where[1:], strict=True))])
    items = int(bad.reshape(len(block), -1).any(axis=1).sum())
    more = f" ({int(bad.sum())} such values in {items} items of the block from item {first_item})"
    raise DataError(
        f"{subject}: the value at {place} is {value}; expected finite numbers{more if bad.sum() > 1 else ''}",
        "remove or replace these items, e.g. with numpy.nan_to_num, and try again",
    )
