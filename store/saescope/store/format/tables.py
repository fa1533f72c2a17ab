"""Tables on their way to and from Parquet: held against the schema, sorted, written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from saescope.store.atomic import replacing
from saescope.store.errors import StoreError
from saescope.store.format.schema import TABLES, schema_of

ROWS_PER_GROUP = 131_072


def conform(name: str, rows: pa.Table | pa.RecordBatch) -> pa.Table:
    """`rows` with exactly the columns of table `name`, in order and type; extra columns follow where it is open.

    Nullable columns that are missing become null. Raises `ValueError`, listing every column that does not fit.
    """
    table = TABLES[name]
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    known = {c.name for c in table.columns}
    extra = [f for f in rows.schema if f.name not in known]
    faults = []
    if len({n.lower() for n in rows.column_names}) != len(rows.column_names):
        faults.append("names of columns that differ at most in case")
    if extra and not table.open:
        faults.append(f"unknown columns {[f.name for f in extra]}")
    columns = []
    for column in table.columns:
        if column.name not in rows.column_names:
            if not column.nullable:
                faults.append(f"{column.name} is missing")
            columns.append(pa.chunked_array([pa.nulls(rows.num_rows, column.type)]))
            continue
        values = rows[column.name] if rows.column_names.count(column.name) == 1 else rows.column(column.name)
        if values.type != column.type:
            try:
                values = values.cast(column.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                faults.append(f"{column.name} is {values.type}, expected {column.type}: {error}")
        if values.null_count and not column.nullable:
            faults.append(f"{column.name} has {values.null_count} nulls")
        columns.append(values)
    if faults:
        raise ValueError(f"table {name!r}: " + "; ".join(faults))
    columns += [rows[f.name] for f in extra]
    return pa.table(columns, schema=schema_of(name, tuple(pa.field(f.name, f.type) for f in extra)))


def sort_keys(name: str, rows: pa.Table) -> list[npt.NDArray[Any]]:
    """The columns that order table `name` as comparable arrays [row]; null counts as least, text by code point."""
    keys = []
    for column in TABLES[name].sorted_by:
        values = rows[column].combine_chunks()
        if pa.types.is_string(values.type):
            encoded = values.dictionary_encode()
            words = encoded.dictionary.to_pylist()
            place = np.empty(max(len(words), 1), np.int64)
            place[np.array(sorted(range(len(words)), key=lambda i: words[i]), np.int64)] = np.arange(len(words))
            codes = encoded.indices
            array = place[codes.fill_null(0).to_numpy(zero_copy_only=False)]
        else:
            codes = values
            array = values.fill_null(0).to_numpy(zero_copy_only=False)
        if codes.null_count:
            array = np.where(codes.is_null().to_numpy(zero_copy_only=False), np.int64(np.iinfo(np.int64).min), array)
        keys.append(array)
    return keys


def order_faults(keys: list[npt.NDArray[Any]]) -> tuple[int, int]:
    """How many rows come before their predecessor, and how many repeat its key; both 0 for a well-ordered table."""
    before = np.zeros(max(len(keys[0]) - 1, 0), bool)
    equal = np.ones_like(before)
    for key in keys:
        before |= equal & (key[1:] < key[:-1])
        equal &= key[1:] == key[:-1]
    return int(before.sum()), int(equal.sum())


def in_order(name: str, rows: pa.Table) -> pa.Table:
    """`rows` sorted by the table's key. Raises `ValueError` if two rows have the same key."""
    keys = sort_keys(name, rows)
    unsorted, repeated = order_faults(keys)
    if unsorted:
        order = np.lexsort(tuple(reversed(keys)))
        rows = rows.take(pa.array(order))
        repeated = order_faults([k[order] for k in keys])[1]
    if repeated:
        raise ValueError(f"table {name!r}: {repeated} rows repeat the key {', '.join(TABLES[name].sorted_by)}")
    return rows


def _batches_in_order(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    last: pa.Table | None = None
    for batch in batches:
        rows = conform(name, batch)
        if not rows.num_rows:
            continue
        checked = rows if last is None else pa.concat_tables([last, rows])
        if order_faults(sort_keys(name, checked)) != (0, 0):
            raise ValueError(f"table {name!r}: batches must come sorted by {', '.join(TABLES[name].sorted_by)}")
        last = rows.slice(rows.num_rows - 1)
        yield rows


def write_parquet(path: Path, name: str, rows: pa.Table | Iterable[pa.RecordBatch]) -> None:
    """Write table `name` to `path`: zstd, sorted, atomically.

    A whole table is sorted if need be; batches must come in order (memory stays at one batch). Raises `ValueError`
    where the rows do not fit the schema, `StorageError` where the disk refuses.
    """
    whole = isinstance(rows, pa.Table)
    parts = iter([in_order(name, conform(name, rows))]) if whole else _batches_in_order(name, rows)
    first = next(parts, None)
    schema = schema_of(name) if first is None else first.schema
    texts = [f.name for f in schema if pa.types.is_string(f.type)]
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=1, use_dictionary=texts) as writer,
    ):
        if first is not None:
            writer.write_table(first, row_group_size=ROWS_PER_GROUP)
        for part in parts:
            if part.schema != schema:
                raise ValueError(f"table {name!r}: batches differ in their columns")
            writer.write_table(part, row_group_size=ROWS_PER_GROUP)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole Parquet file. Raises `StoreError` if it is missing or damaged."""
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=columns)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing", "open the entry again (it may have been rebuilt), or run saescope verify"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} is damaged: {error}", "run saescope verify, then build the entry again") from error
