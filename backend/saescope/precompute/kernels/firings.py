"""What is read off all firings after the pass."""

from __future__ import annotations

import numba
import numpy as np

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.kernels.records import F32, I32, I64, Postings, RowNumbers, Windows


@numba.njit(cache=True, nogil=True)
def transpose(codes: CodeRows, cursor: I64, rows: RowNumbers) -> None:
    """Write the row of each firing at its feature's cursor: compressed rows to compressed columns."""
    row_ptr, features, _ = codes
    for r in range(row_ptr.size - 1):
        for e in range(row_ptr[r], row_ptr[r + 1]):
            f = features[e]
            rows[cursor[f]] = r
            cursor[f] += 1


@numba.njit(cache=True, nogil=True)
def transpose_values(codes: CodeRows, cursor: I64, by_feature: F32) -> None:
    """As `transpose`, the activation of each firing."""
    _, features, values = codes
    for e in range(features.size):
        f = features[e]
        by_feature[cursor[f]] = values[e]
        cursor[f] += 1


@numba.njit(cache=True, nogil=True)
def windows(wanted: Windows, codes: CodeRows, positions: I32, slot: I64, out: F32) -> None:
    """The activations that are wanted, where the feature fires, into `out`: that at position p of the item at the
    window's offset + p.

    `positions` are the rows'. `slot` has an entry of -1 for every feature and is left so.
    """
    items, of, offsets, first_row, end_row = wanted
    row_ptr, features, values = codes
    i = 0
    while i < items.size:
        j = i
        while j < items.size and items[j] == items[i]:
            if slot[of[j]] < 0:
                slot[of[j]] = j
            j += 1
        for r in range(first_row[i], end_row[i]):
            for e in range(row_ptr[r], row_ptr[r + 1]):
                at = slot[features[e]]
                while 0 <= at < j and of[at] == features[e]:
                    out[offsets[at] + positions[r]] = values[e]
                    at += 1
        for m in range(i, j):
            slot[of[m]] = -1
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
    postings: Postings, row_item: I64, category: I64, n_categories: int, n_match: I64, n_items: I64
) -> None:
    """For each feature and category of the items: firings in it, and distinct items of it in which the feature fires.

    Rows of a feature ascend, and rows of an item are neighbours.
    """
    pointers, rows = postings
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
