"""Columns of a table as arrays, and what their rows may break: the tools of the checks (see `consistency`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Problems = Iterator[str]
Array = npt.NDArray[Any]


def values(table: pa.Table, name: str, null: Any = None) -> Array:
    """A column as an array, with `null` in place of nulls."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty one
        column = pa.array([], column.type)
    if null is not None and column.null_count:
        column = column.fill_null(pa.scalar(null, column.type))
    array: Array = column.to_numpy(zero_copy_only=False)
    return array


def lists(table: pa.Table, name: str) -> tuple[Array, Array]:
    """The lengths [row] and the flat values of a list column; a null list is empty."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.array([], column.type)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64), column.flatten().to_numpy(zero_copy_only=False)


def sums(lengths: Array, flat: Array) -> Array:
    """The sum of each list [row], of lists as `lists` gives them."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    total: Array = np.zeros(len(lengths), flat.dtype)
    np.add.at(total, rows, flat)
    return total


def broken_rows(broken: Array, what: str) -> Problems:
    """`what` is the matter, in how many rows, and which is the first; nothing where no row is `broken` [row]."""
    n = int(np.count_nonzero(broken))
    if n:
        first = int(np.flatnonzero(broken)[0])
        yield f"{what} in {n} row{'s' if n > 1 else ''} (first: row {first})"


def outside(ids: Array, n: int | Array) -> Array:
    """Which `ids` are not within 0 to n - 1."""
    found: Array = (ids < 0) | (ids >= n)
    return found


def first_of_group(*keys: Array) -> Array:
    """Which rows begin a group of equal `keys`, in a table that is sorted by them."""
    same = np.ones(max(len(keys[0]) - 1, 0), bool)
    for key in keys:
        same &= key[1:] == key[:-1]
    first: Array = np.concatenate([[True], ~same]) if len(keys[0]) else np.zeros(0, bool)
    return first


def place_in_group(first: Array) -> Array:
    """How many rows of its group stand before each row; `first` as of `first_of_group`."""
    rows = np.arange(len(first))
    place: Array = rows - np.maximum.accumulate(np.where(first, rows, 0))
    return place
