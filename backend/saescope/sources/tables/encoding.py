"""Columns of a table as dimensions: fitted on the rows trained on, then applied to any rows.

A number becomes (x - centre) / scale, a boolean 0 or 1, a category a dimension of 0 and 1 for each of those that the
rows trained on hold. What is missing is filled in with the median, what is not among the categories is 0 in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Float64

from saescope.sources.files import listed
from saescope.sources.tables.options import ColumnScale, TableOptions
from saescope.sources.tables.values import bare, is_number, is_text
from saescope.store.errors import DataError
from saescope.store.format.table_columns import TableColumn

MOST_CATEGORIES = 64
"""Categories of one column; texts with more are names or sentences, and no inputs."""
IQR_OF_NORMAL = 1.349
"""Interquartile range of a standard normal distribution: 2 * 0.6745."""


@dataclass
class Fitted:
    """The columns that are inputs, and why others are not."""

    columns: list[TableColumn] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def fit_columns(table: pa.Table, names: Sequence[str], options: TableOptions) -> Fitted:
    """How to encode the columns `names`, by all rows of `table`. `DataError` where none has two values."""
    fitted = Fitted()
    forced = options.listed("category_columns")
    for name in names:
        column = table[name]
        present = column.drop_null()
        kind = bare(column.type)
        if not len(present):
            fitted.left_out[name] = "it has no values in the rows trained on"
        elif pa.types.is_temporal(kind):
            fitted.left_out[name] = "it holds times, which order rows but are no quantity"
        elif is_text(kind) or name in forced:
            _fit_category(fitted, name, present, len(column) > len(present), options)
        elif pa.types.is_boolean(kind) or _is_number(kind):
            _fit_number(fitted, name, column, options)
        else:
            fitted.left_out[name] = f"it is {kind}, neither numbers, booleans nor texts"
    if not fitted.columns:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(fitted.left_out.items())[:3])
        raise DataError(
            f"{options.path}: no column can be an input ({reasons or 'it has none'})",
            "expected a column of numbers or categories that varies over the rows trained on",
        )
    return fitted


def _is_number(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))


def _fit_category(
    fitted: Fitted, name: str, present: pa.ChunkedArray, has_missing: bool, options: TableOptions
) -> None:
    words = sorted(str(word) for word in pc.unique(_texts(present)).to_pylist())
    if len(words) < 2 and not (has_missing and options.missing_indicator):
        fitted.left_out[name] = f"it is constant in the rows trained on ({words[0]!r})"
    elif len(words) > MOST_CATEGORIES:
        fitted.left_out[name] = f"it has {len(words):,} different texts, more than {MOST_CATEGORIES} categories"
        texts = [word for word in words if not is_number(word)]
        if name not in options.listed("category_columns") and len(texts) < len(words) / 2:
            fitted.left_out[name] += f"; but for {listed([repr(word) for word in texts], 3)} these are numbers"
    else:
        fitted.columns.append(
            TableColumn(
                name=name, kind="category", categories=words, indicator=has_missing and options.missing_indicator
            )
        )


def _fit_number(fitted: Fitted, name: str, column: pa.ChunkedArray, options: TableOptions) -> None:
    values = _numbers(column)
    present = values[~np.isnan(values)]
    indicator = len(present) < len(values) and options.missing_indicator
    if not len(present):
        fitted.left_out[name] = "it has no values in the rows trained on"
        return
    if np.isinf(present).any():
        _refuse_infinite(options.path, name, values)
    if np.abs(present).max() > np.finfo(np.float32).max:
        _refuse_large(options.path, name)
    low, high = float(present.min()), float(present.max())
    if low == high and not indicator:
        fitted.left_out[name] = f"it is constant in the rows trained on ({low:g})"
        return
    is_boolean = pa.types.is_boolean(bare(column.type))
    centre, scale = (0.0, 1.0) if is_boolean else _centre_and_scale(present, options.scale_columns)
    fitted.columns.append(
        TableColumn(
            name=name,
            kind="boolean" if is_boolean else "number",
            centre=centre,
            scale=scale,
            fill=float(np.round(np.median(present))) if is_boolean else float(np.median(present)),
            indicator=indicator,
        )
    )


def _centre_and_scale(values: Float64[np.ndarray, " row"], how: ColumnScale) -> tuple[float, float]:
    """Of values that may all be equal. Where the middle half is one value, the standard deviation scales."""
    if how == "none":
        return 0.0, 1.0
    deviation = float(values.std())
    if how == "robust":
        lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
        return float(middle), float(upper - lower) / IQR_OF_NORMAL or deviation or 1.0
    return float(values.mean()), deviation or 1.0


@dataclass
class Encoder:
    """Encodes rows, and counts what is missing and unseen in them."""

    columns: Sequence[TableColumn]
    path: str
    refuses_missing: bool = False
    missing: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)

    def encode(self, table: pa.Table) -> Float32[np.ndarray, "row d_in"]:
        """The rows of `table`, which has all columns."""
        parts = [part for column in self.columns for part in self._parts(column, table[column.name])]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")

    def _parts(self, column: TableColumn, values: pa.ChunkedArray) -> list[np.ndarray]:
        if column.kind == "category":
            texts = _texts(values)
            place = pc.index_in(texts, pa.array(column.categories, pa.string()))
            index = pc.fill_null(place, -1).to_numpy().astype(np.int64)
            absent = pc.is_null(texts).to_numpy()
            own = (index[:, None] == np.arange(len(column.categories))).astype(np.float32)
            self._count(self.unseen, column.name, int(((index < 0) & ~absent).sum()))
        else:
            if not (
                pa.types.is_boolean(bare(values.type)) or _is_number(bare(values.type)) or pa.types.is_null(values.type)
            ):
                raise DataError(
                    f"{self.path}: column {column.name!r} is {bare(values.type)}, but {column.kind}s in training",
                    "write it as in training",
                )
            numbers = _numbers(values)
            absent = np.isnan(numbers)
            if np.isinf(numbers).any():
                _refuse_infinite(self.path, column.name, numbers)
            own = ((np.where(absent, column.fill, numbers) - column.centre) / column.scale)[:, None]
            if not (np.abs(own) < np.finfo(np.float32).max).all():
                _refuse_large(self.path, column.name)
        n_missing = int(absent.sum())
        if n_missing and self.refuses_missing:
            raise DataError(
                f"{self.path}: column {column.name!r} has missing values, {n_missing:,} among the first rows read",
                "fill them in, leave them to --missing-values median, or name the column in --metadata-columns",
            )
        self._count(self.missing, column.name, n_missing)
        return [own, absent[:, None].astype(np.float32)] if column.indicator else [own]

    @staticmethod
    def _count(counts: dict[str, int], name: str, n: int) -> None:
        if n:
            counts[name] = counts.get(name, 0) + n


def check_columns(columns: Sequence[TableColumn], table: pa.Table, path: str) -> None:
    """`DataError` where the table lacks columns that were inputs in training."""
    lacking = [column.name for column in columns if column.name not in table.column_names]
    if lacking:
        raise DataError(
            f"{path}: lacks columns of the training: {listed([repr(n) for n in lacking])}",
            f"it has {listed(table.column_names)}",
        )


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = bare(column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(kind)
    if pa.types.is_floating(kind) or pa.types.is_null(kind):  # whole numbers beside missing ones
        return pa.chunked_array([pa.array([None if v is None else f"{v:g}" for v in column.to_pylist()], pa.string())])
    return column.cast(pa.string())


def _numbers(column: pa.ChunkedArray) -> Float64[np.ndarray, " row"]:
    """As float64, NaN where there is none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(bare(column.type))
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(values, dtype=np.float64)


def _refuse_large(path: str, name: str) -> NoReturn:
    raise DataError(f"{path}: column {name!r} holds values that float32 cannot", "rescale or remove them")


def _refuse_infinite(path: str, name: str, values: Float64[np.ndarray, " row"]) -> NoReturn:
    place = int(np.flatnonzero(np.isinf(values))[0])
    raise DataError(
        f"{path}: column {name!r} is {values[place]} in row {place:,} of those read; expected finite numbers",
        "remove or replace such values",
    )
