"""Tables as sources: a row is an item of one position."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from saescope.progress import SILENT, Progress
from saescope.sources.activations.shards import Shards
from saescope.sources.activations.source import ActivationSource
from saescope.sources.files import listed
from saescope.sources.labels import chosen_items
from saescope.sources.options import Purpose
from saescope.sources.split import held_out
from saescope.sources.splits import chosen_split
from saescope.sources.tables.embedded_tables import LABEL_WORDS, PREFIX
from saescope.sources.tables.encoding import Encoder, Fitted, check_columns, fit_columns
from saescope.sources.tables.options import TableOptions
from saescope.sources.tables.parts import TableParts, check_named, find_splits, open_parts
from saescope.sources.tables.values import bare, is_plain, kept_type
from saescope.store.errors import DataError
from saescope.store.format.fields import parse_object
from saescope.store.format.source import TableDescription
from saescope.store.format.table_columns import TableColumn

LABEL = "label"
_LABEL_NAMES = ("label", "labels", "target", "class", "y")
_RESERVED = frozenset({"item_id", "token_ids", "tokens", "image", LABEL})
_ROWS = 1 << 14
"""Rows that are encoded at a time."""
_IN_MEMORY = 1 << 28
"""Bytes of encoded rows beyond which they are held in a file."""


class TableSource(ActivationSource):
    """Rows of a table. Opening one encodes all of them once: into memory, or a file that is mapped."""

    kind = "table"

    def __init__(
        self,
        values: Shards,
        raw: pa.Table,
        labels: pa.Array | None,
        about: Mapping[str, Any],
        *,
        path: str,
        format: str,
        progress: Progress = SILENT,
    ) -> None:
        """`raw` holds the columns that are shown with a row, `about` what its description tells beside."""
        super().__init__(values, labels, path=path, format=format, progress=progress)
        self._raw, self._about = raw, about

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        """With the values of all columns as they are in the table."""
        table = super().item_table(item_ids)
        taken = pa.array(np.asarray(item_ids, np.int64))
        for name, column in self._shown(self._raw.take(taken)).items():
            table = table.append_column(name, column)
        return table

    def metadata(self) -> Mapping[str, Any]:
        """Numbers that are inputs are no metadata: features are labelled by categories and the other columns."""
        numbers = {c.name for c in self._about["columns"] if c.kind == "number"}
        kept = self._raw.select([name for name in self._raw.column_names if name not in numbers])
        return {**super().metadata(), **self._shown(kept)}

    @staticmethod
    def _shown(table: pa.Table) -> dict[str, pa.ChunkedArray]:
        return {
            _free_name(name): table[name].cast(kept_type(table[name].type), safe=False) for name in table.column_names
        }

    def describe(self) -> TableDescription:
        return TableDescription(
            path=self._path,
            format=self._format,
            data_sha256=self.data_sha256,
            n_items=self.n_items,
            n_positions=self.n_items,
            positions_per_item=1,
            d_in=self.d_in,
            **self._about,
        )


def open_data(options: TableOptions, purpose: Purpose, progress: Progress = SILENT) -> TableSource:
    """The rows of the table that `options` name."""
    parts = open_parts(options)
    split = chosen_split(parts.splits, options, purpose, progress)
    label_column = _label_column(parts.table, options)
    rows = _chosen(parts, parts.of(split, options.path), label_column, options, progress)
    check_named(parts, options)
    if label_column is not None and options.label_column is None and not options.path.startswith(PREFIX):
        progress.tell(f"{options.path}: column {label_column!r} holds the labels (--label-column names another)")
    if parts.undivided is not None:
        progress.tell(
            f"{options.path}: column {parts.undivided!r} does not say train and test: it divides nothing and is a "
            "column as any other"
        )
    named = [label_column, parts.split_column]
    inputs = [n for n in parts.table.column_names if n not in (*named, *options.listed("metadata_columns"))]
    if options.columns_from is not None:
        fitted = Fitted(columns_of(options.columns_from))
        check_columns(fitted.columns, parts.table, options.path)
        known = {column.name for column in fitted.columns}
        for name in known & {label_column, *options.listed("metadata_columns")}:
            progress.tell(f"{options.path}: column {name!r} is an input all the same, as it was in training")
        fitted.left_out = {name: "it was no input in training" for name in inputs if name not in known}
        fitted_on = f"as recorded in {Path(options.columns_from).name}"
    else:
        train = (
            rows
            if split == "train"
            else _chosen(parts, parts.of("train", options.path), label_column, options, progress)
        )
        fitted_on = "the train split"
        if not parts.splits:
            kept = ~held_out(len(rows))  # what training keeps, whichever its seed
            train, fitted_on = rows[kept], "the rows that are not held out"
        if split == "all":
            fitted_on = "the train split" if parts.splits else fitted_on
        fitted = fit_columns(_taken(parts.table, train), inputs, options)
    for name, why in fitted.left_out.items():
        progress.tell(f"{options.path}: column {name!r} is no input: {why}")
    chosen = _taken(parts.table, rows)
    encoder = Encoder(fitted.columns, options.path, options.missing_values == "refuse")
    values = _encoded(chosen, encoder, progress)
    _tell_counts(encoder, options, progress)
    plain = [n for n in chosen.column_names if n not in named and is_plain(chosen[n].type)]
    embedded = options.path.removeprefix(PREFIX)
    return TableSource(
        Shards([values[:, None, :]], [False]),
        chosen.select(plain),
        None if label_column is None else _as_labels(chosen[label_column]),
        {
            "split": split,
            "label_words": {LABEL: LABEL_WORDS[embedded]}
            if embedded in LABEL_WORDS and embedded != options.path
            else {},
            "columns": tuple(fitted.columns),
            "scale_columns": options.scale_columns,
            "fitted_on": fitted_on,
            "missing": encoder.missing,
            "unseen": encoder.unseen,
            "left_out": fitted.left_out,
            **options.choice,
        },
        path=options.path,
        format=parts.format,
        progress=progress,
    )


def has_splits(options: TableOptions) -> bool:
    """Whether the table says which rows are for training and which for testing."""
    return bool(find_splits(options))


def columns_of(path: str) -> list[TableColumn]:
    """The columns as a training encoded them: of a checkpoint's folder (its cfg.json), or a JSON file with
    `columns`."""
    file = Path(path).expanduser()
    file = file / "cfg.json" if file.is_dir() else file
    try:
        content = parse_object(file.read_bytes())
        source = content.get("training", {}).get("source", {}) if "columns" not in content else content
        found = msgspec.convert(source.get("columns") or [], list[TableColumn])
    except (OSError, ValueError, AttributeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: no columns of a table can be read there ({error})", _COLUMNS_EXPECTED) from None
    if not found:
        raise DataError(f"{path}: was not trained on a table, so it records no columns", _COLUMNS_EXPECTED)
    return found


_COLUMNS_EXPECTED = "name the folder of a checkpoint that was trained on a table, or a JSON file with its columns"


def _label_column(table: pa.Table, options: TableOptions) -> str | None:
    if options.label_column is not None:
        return options.label_column
    lower = {name.lower(): name for name in reversed(table.column_names)}
    return next((lower[name] for name in _LABEL_NAMES if name in lower), None)


def _chosen(
    parts: TableParts,
    rows: Int64[np.ndarray, " row"],
    label_column: str | None,
    options: TableOptions,
    progress: Progress,
) -> Int64[np.ndarray, " row"]:
    """Those of the rows that `options` choose by their label."""
    if not options.chooses:
        return rows
    labels = None if label_column is None else _as_labels(parts.table[label_column].take(pa.array(rows)))
    return rows[chosen_items(labels, options.path, **options.choice)]


def _taken(table: pa.Table, rows: Int64[np.ndarray, " row"]) -> pa.Table:
    """The rows, ascending; the table itself where these are all."""
    return table if len(rows) == len(table) else table.take(pa.array(rows))


def _as_labels(column: pa.ChunkedArray) -> pa.Array:
    """Labels as text; whole numbers without a point."""
    kind = bare(column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(kind)
    if pa.types.is_floating(kind):
        words = [None if v is None or v != v else f"{v:g}" for v in column.to_pylist()]
        return pa.array(words, pa.string())
    return pa.concat_arrays([pa.array([], pa.string()), *column.cast(pa.string()).chunks])


def _encoded(table: pa.Table, encoder: Encoder, progress: Progress) -> Float32[np.ndarray, "row d_in"]:
    """All rows, in memory where there is room, else in a file without a name."""
    shape = (len(table), sum(len(column.dimensions) for column in encoder.columns))
    values: np.ndarray
    if shape[0] * shape[1] * 4 <= _IN_MEMORY:
        values = np.empty(shape, np.float32)
    else:
        with tempfile.TemporaryFile(prefix="saescope-rows-") as file:
            values = np.memmap(file, np.float32, "w+", shape=shape).view(np.ndarray)
    for start in range(0, len(table), _ROWS):
        piece = table.slice(start, _ROWS)
        values[start : start + len(piece)] = encoder.encode(piece)
        progress.update("encoding rows", start + len(piece), len(table))
    return values


def _tell_counts(encoder: Encoder, options: TableOptions, progress: Progress) -> None:
    """What was missing and unseen, by column."""
    filled = "filled in with the training's median, of categories left at zero"
    for counts, what in (
        (encoder.missing, f"missing values, {filled}"),
        (encoder.unseen, "values that are none of the categories of training, left at zero in all of them"),
    ):
        if counts:
            columns = listed([f"{name!r} ({n:,})" for name, n in counts.items()], 6)
            progress.tell(f"{options.path}: {what}: {columns}")


def _free_name(name: str) -> str:
    return f"source_{name}" if name.lower() in _RESERVED else name
