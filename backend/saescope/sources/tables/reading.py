"""Rows of tables in files: Parquet, Arrow and CSV, as one Arrow table whose columns are mapped into memory.

Every file is read in batches into one temporary file, so that memory is bounded however long the table is.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from saescope.sources.files import Files, all_files, files_of, listed, one_file
from saescope.sources.streams import bare_name, bomb, head_of, limit, lines_of, open_bytes
from saescope.sources.tables.agreement import agreed
from saescope.sources.tables.files import SUFFIXES, TableFile, is_table, unambiguous
from saescope.sources.tables.values import is_number
from saescope.store.errors import DataError

TEXT = (".csv", ".tsv", ".tab")
EXPECTED = (
    "expected a table in Parquet, Arrow or CSV, a folder of such files, or embedded:breast_cancer, wine or digits"
)
NOTHING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
"""Values of CSV that stand for none."""
_ROWS = 1 << 16
_BLOCK = 1 << 24


def find_files(path: Path) -> Files:
    """The files of a table. `DataError` where there are none."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", EXPECTED)
    if not path.is_dir():
        return one_file(path)
    found = all_files(path)
    tables = [file for file in found if bare_name(file.name).endswith((*SUFFIXES, *TEXT))]
    if not tables:
        raise DataError(f"{path}: holds no tables (found {listed([file.name for file in found], 5)})", EXPECTED)
    return files_of(path, tables, [file for file in found if file not in set(tables)])


def format_of(path: Path) -> str:
    """'parquet', 'arrow' or 'csv'."""
    head = head_of(path)
    if not head:
        raise DataError(f"{path} is empty", EXPECTED)
    return TableFile(path).format if is_table(path, head) else "csv"


def read_table(paths: Sequence[Path]) -> pa.Table:
    """The rows of several files, one after another; columns are widened where files differ in their type, and null
    where a file lacks one."""
    tables = [_read(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    common = agreed(
        {p: dict(zip(t.column_names, t.schema.types, strict=True)) for p, t in zip(paths, tables, strict=True)}
    )
    if common.left_out:
        raise DataError(
            f"{paths[0].parent}: {common.left_out[0].replace('is left out: it ', '')}", "write all files alike"
        )
    schema = pa.schema(list(common.columns.items()))
    return pa.concat_tables([_as(table, schema) for table in tables])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def _read(path: Path) -> pa.Table:
    if format_of(path) == "csv":
        header = _header(path)
        table = _mapped(pa.schema([(name, pa.string()) for name in header.names]), _csv_batches(path, header))
        columns = {name: _typed(table[name]) for name in table.column_names}
        return pa.table(columns)
    file = TableFile(path)
    schema = file.schema
    return _mapped(schema, file.batches(schema.names, _ROWS))


def column_names(path: Path) -> list[str]:
    """The names of a file's columns."""
    return _header(path).names if format_of(path) == "csv" else list(TableFile(path).schema.names)


def _mapped(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """The rows of batches, in a file that is gone as soon as nothing reads it any more."""
    handle, name = tempfile.mkstemp(suffix=".arrow", prefix="saescope-table-")
    os.close(handle)
    try:
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(name)).read_all()
    finally:
        Path(name).unlink()


@dataclass(frozen=True)
class _Header:
    names: list[str]
    delimiter: str


def _header(path: Path) -> _Header:
    """The names in the first line, and what parts them: the character that makes most columns."""
    with open_bytes(path) as file:
        line = next(lines_of(file, path), b"")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is neither a table in Parquet or Arrow nor CSV in UTF-8", EXPECTED) from None
    if "\0" in text:
        raise DataError(f"{path}: holds bytes that are no text", EXPECTED)
    order = ("\t", ",", ";", "|") if bare_name(path.name).endswith((".tsv", ".tab")) else (",", ";", "\t", "|")
    delimiter = max(order, key=text.count)
    return _Header(next(csv.reader(io.StringIO(text), delimiter=delimiter), []), delimiter)


def _csv_batches(path: Path, header: _Header) -> Iterator[pa.RecordBatch]:
    """All columns as texts: which are numbers is told by all of their values, not by the first ones."""
    unambiguous(pa.schema([(name, pa.string()) for name in header.names]), path)
    if all(is_number(name) for name in header.names):
        raise DataError(
            f"{path}: the first line holds numbers ({listed(header.names, 4)}); expected the columns' names",
            "add a line with names",
        )
    n_bytes = 0
    try:
        with open_bytes(path) as file:
            reader = pa.csv.open_csv(
                file,
                pa.csv.ReadOptions(block_size=_BLOCK),
                pa.csv.ParseOptions(delimiter=header.delimiter, newlines_in_values=True),
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(header.names, pa.string()),
                    null_values=list(NOTHING),
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                n_bytes += batch.nbytes
                if n_bytes > 100 * limit(path):
                    raise bomb(path, "the table")
                yield batch
    except pa.ArrowInvalid as error:
        what = str(error).splitlines()[0]
        raise DataError(
            f"{path}: not CSV that can be read ({what})",
            "write it in UTF-8" if "UTF8" in what else "expected as many values in each line as names",
        ) from None


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts as whole numbers, numbers, booleans or times, whichever first holds all that is there."""
    if column.null_count == len(column):
        return column
    trimmed = pa.chunked_array([pc.utf8_trim_whitespace(chunk) for chunk in column.chunks], pa.string())
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        if pa.types.is_boolean(kind) and not _says_booleans(trimmed):
            continue
        try:
            return trimmed.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return column


def _says_booleans(column: pa.ChunkedArray) -> bool:
    words = {str(word).lower() for word in pc.unique(column).drop_null().to_pylist()[:5]}
    return words <= {"true", "false"}
