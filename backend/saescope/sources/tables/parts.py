"""The rows of a table, and which split each of them belongs to."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from saescope.sources.files import listed
from saescope.sources.options import Split
from saescope.sources.splits import REST, WORDS, in_order, parts_of, splits_of
from saescope.sources.tables.embedded_tables import PREFIX, embedded_table
from saescope.sources.tables.options import LISTED, NAMED, TableOptions
from saescope.sources.tables.reading import column_names, find_files, format_of, read_table
from saescope.store.errors import DataError

SPLIT = "split"


@dataclass(frozen=True)
class TableParts:
    """A table, whole, and the rows of its splits."""

    table: pa.Table
    rows: Mapping[str, Int64[np.ndarray, " row"]]
    """'train', 'test', 'validation' and 'rest', or 'all'."""
    format: str
    split_column: str | None = None
    undivided: str | None = None
    """A column that is called so, but does not say train and test."""

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.rows)

    def of(self, split: Split | None, path: str) -> Int64[np.ndarray, " row"]:
        """Rows of a split, ascending; of all where there are none. `DataError` for validation where there is none."""
        return np.sort(np.concatenate(parts_of(self.rows, split, path)))


def open_parts(options: TableOptions) -> TableParts:
    """All rows of the table that `options` name. `DataError` for what cannot be read."""
    if options.path.startswith(PREFIX):
        table = embedded_table(options.path)
        return TableParts(table, {"all": np.arange(len(table))}, "embedded")
    files = find_files(Path(options.path).expanduser())
    paths = files.all
    table = read_table(paths)
    if not len(table):
        raise DataError(f"{options.path}: the table has no rows")
    _check_names(table, options)
    formats = ", ".join(dict.fromkeys(map(format_of, paths)))
    if files.splits:
        ends = np.cumsum([0, *(len(read_table([path])) for path in paths)])
        places = dict(zip(paths, itertools.pairwise(ends), strict=True))
        rows = {
            split: np.concatenate([np.arange(*places[path]) for path in own]) for split, own in files.by_split.items()
        }
        return TableParts(table, rows, formats)
    column = _split_column(table.column_names, options)
    divided = None if column is None else _divided(table[column])
    if divided is None:
        if options.split_column is not None:
            check_column(options.split_column, table.column_names, options.path)
            found = listed([repr(v) for v in pc.unique(table[options.split_column]).to_pylist()[:6]])
            raise DataError(
                f"{options.path}: column {options.split_column!r} does not say which split rows belong to: {found}",
                "expected train and test (or validation)",
            )
        return TableParts(table, {"all": np.arange(len(table))}, formats, undivided=column)
    return TableParts(table, divided, formats, column)


def find_splits(options: TableOptions) -> Sequence[Split]:
    """The table's splits; only a table that has a column for them is read."""
    if options.path.startswith(PREFIX):
        return ()
    files = find_files(Path(options.path).expanduser())
    if files.splits:
        return files.splits
    named = [_split_column(column_names(path), options) for path in files.all]
    return open_parts(options).splits if any(named) else ()


def check_named(parts: TableParts, options: TableOptions) -> None:
    """`DataError` where an option names a column that is not there."""
    names = parts.table.column_names
    given = [getattr(options, name) for name in NAMED]
    for wanted in [name for name in given if name is not None] + [n for each in LISTED for n in options.listed(each)]:
        check_column(wanted, names, options.path)


def check_column(wanted: str, names: Sequence[str], path: str) -> None:
    """`DataError` where no column is called `wanted`."""
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise DataError(f"{path}: no column {wanted!r}{meant}", f"it has {listed(names)}")


def _split_column(names: Sequence[str], options: TableOptions) -> str | None:
    if options.split_column is not None:
        return options.split_column if options.split_column in names else None
    return next((name for name in names if name.lower() == SPLIT), None)


def _divided(column: pa.ChunkedArray) -> dict[str, Int64[np.ndarray, " row"]] | None:
    """Rows by what a column says of their split; None where it does not say train and test."""
    split_of = {word: split for split, words in WORDS.items() for word in words}
    words = pc.unique(column).to_pylist()
    if not all(word is None or (isinstance(word, str) and word.lower() in split_of) for word in words):
        return None
    rows: dict[str, list[np.ndarray]] = {}
    for word in words:
        is_it = pc.is_null(column) if word is None else pc.fill_null(pc.equal(column, word), False)
        name = REST if word is None else split_of[word.lower()]
        rows.setdefault(name, []).append(np.flatnonzero(is_it.to_numpy()))
    found = in_order({name: np.concatenate(parts) for name, parts in rows.items()})
    return found if splits_of(found) else None


def _check_names(table: pa.Table, options: TableOptions) -> None:
    """`DataError` where names differ in their case alone: the store could not tell them apart."""
    seen: dict[str, str] = {}
    for name in table.column_names:
        other = seen.setdefault(name.lower(), name)
        if other != name or not name.strip():
            what = (
                f"columns {other!r} and {name!r} differ in upper and lower case alone"
                if name.strip()
                else "a column has no name"
            )
            raise DataError(f"{options.path}: {what}", "rename it")
