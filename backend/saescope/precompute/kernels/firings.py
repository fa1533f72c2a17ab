"""What is read off all firings after the pass."""

from __future__ import annotations

import numba
import numpy as np

from saescope.precompute.kernels.types import F32, I32, I64, Rows


@numba.njit(cache=True, nogil=True)
def transpose(row_ptr: I64, features: I32, cursor: I64, rows: Rows) -> None:
    """Write the row of each firing at its feature's cursor: compressed rows to compressed columns."""
    for r in range(row_ptr.size - 1):
        for e in range(row_ptr[r], row_ptr[r + 1]):
            f = features[e]
            rows[cursor[f]] = r
            cursor[f] += 1


@numba.njit(cache=True, nogil=True)
def transpose_values(features: I32, values: F32, cursor: I64, by_feature: F32) -> None:
    """As `transpose`, the activation of each firing."""
    for e in range(features.size):
        f = features[e]
        by_feature[cursor[f]] = values[e]
        cursor[f] += 1


@numba.njit(cache=True, nogil=True)
def windows(
    items: I64,
    wanted: I64,
    offsets: I64,
    first_row: I64,
    end_row: I64,
    row_ptr: I64,
    features: I32,
    values: F32,
    positions: I32,
    slot: I64,
    out: F32,
) -> None:
    """Activation of feature `wanted[i]` at every position of item `items[i]`, where it fires, into `out` from
    `offsets[i]` on.

    Pairs (item, feature) are sorted; the item's rows are first_row[i] ... end_row[i] - 1. `slot` has an entry of -1 for
    every feature and is left so.
    """
    i = 0
    while i < items.size:
        j = i
        while j < items.size and items[j] == items[i]:
            if slot[wanted[j]] < 0:
                slot[wanted[j]] = j
            j += 1
        for r in range(first_row[i], end_row[i]):
            for e in range(row_ptr[r], row_ptr[r + 1]):
                at = slot[features[e]]
                while 0 <= at < j and wanted[at] == features[e]:
                    out[offsets[at] + positions[r]] = values[e]
                    at += 1
        for m in range(i, j):
            slot[wanted[m]] = -1
        i = j


@numba.njit(cache=True, nogil=True)
def rows_of_categories(row_item: I64, category: I64, counts: I64) -> None:
    """Count the rows of each category; items with category -1 count nowhere."""
    for r in range(row_item.size):
        c = category[row_item[r]]
        if c >= 0:
            counts[c] += 1


@numba.njit(cache=True, nogil=True)
def count_categories(
    pointers: I64, rows: Rows, row_item: I64, category: I64, n_categories: int, n_match: I64, n_items: I64
) -> None:
    """For each feature and category of the items: firings in it, and distinct items of it in which the feature fires.

    Rows of a feature ascend, and rows of an item are neighbours.
    """
    last = np.empty(n_categories, np.int64)
    for f in range(pointers.size - 1):
        last[:] = -1
        for p in range(pointers[f], pointers[f + 1]):
            item = row_item[rows[p]]
            c = category[item]
            if c >= 0:
                n_match[f, c] += 1
                if last[c] != item:
                    n_items[f, c] += 1
                    last[c] = item
