"""Parquet files with a column of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.sources.parquet_reading import guarded
from saescope.sources.texts.documents import Document, decoded, free_name, scalar, text_column
from saescope.sources.texts.files import Files
from saescope.store.errors import UserError

_ROWS = 512


@dataclass(frozen=True)
class ParquetTexts:
    """A document per row; every other column of plain values is metadata."""

    files: Files
    text_key: str | None
    format: str = "parquet"
    uses_text_key: bool = True

    @property
    def splits(self) -> Sequence[Split]:
        return self.files.splits

    @cached_property
    def _schema(self) -> pa.Schema:
        first = self.files.all[0]
        schema = _open(first).schema_arrow
        for path in self.files.all[1:]:
            if not _open(path).schema_arrow.equals(schema):
                raise UserError(f"{path}: columns differ from those of {first.name}; expected the same in all files")
        return schema

    @cached_property
    def _text(self) -> str:
        holds = [f.name for f in self._schema if _is_text(f.type)]
        column = text_column(self._schema.names, holds, self.text_key, str(self.files.all[0]))
        kind = self._schema.field(column).type
        if not (_is_text(kind) or _is_bytes(kind)):
            raise UserError(
                f"{self.files.all[0]}: column {column!r} is {kind}; expected texts", "choose another with --text-key"
            )
        return column

    def columns(self) -> Mapping[str, pa.DataType]:
        return {free_name(f.name): _kept_type(f.type) for f in self._schema if f.name in self._others}

    @cached_property
    def _others(self) -> list[str]:
        return [f.name for f in self._schema if f.name != self._text and _is_scalar(f.type)]

    def fingerprint(self, split: Split | None) -> str:
        return self.files.fingerprint(split, self._text)

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        paths = self.files.of(split)
        total = sum(_open(path).metadata.num_rows for path in paths)
        done = 0
        for path in paths:
            file = _open(path)
            batches = file.iter_batches(_ROWS, columns=[self._text, *self._others])
            while (batch := guarded(path, partial(next, batches, None))) is not None:
                for document in self._documents(batch):
                    yield document
                    done += 1
                    progress.update("tokenising texts", done, total)

    def _documents(self, batch: pa.RecordBatch) -> Iterator[Document]:
        texts = batch.column(batch.schema.get_field_index(self._text))
        if pa.types.is_dictionary(texts.type):
            texts = texts.dictionary_decode()
        raw = texts.cast(pa.large_binary())  # Parquet does not promise that its strings are valid UTF-8
        names = {name: free_name(name) for name in self._others}
        columns = {kept: _values(batch.column(batch.schema.get_field_index(n))) for n, kept in names.items()}
        for row in range(len(raw)):
            data = raw[row].as_py()
            yield Document((decoded(data),) if data else (), {name: values[row] for name, values in columns.items()})


def _values(column: pa.Array) -> list:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if _is_text(kind):
        return [scalar(v) for v in column.cast(pa.large_binary()).to_pylist()]
    return [scalar(v) for v in column.to_pylist()]


def _open(path: Path) -> pq.ParquetFile:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; expected a Parquet file")
    return guarded(path, lambda: pq.ParquetFile(path))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    kind = _plain(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_scalar(kind: pa.DataType) -> bool:
    plain = _plain(kind)
    numbers = pa.types.is_integer(plain) or pa.types.is_boolean(plain) or pa.types.is_floating(plain)
    return _is_text(kind) or numbers or pa.types.is_temporal(plain)


def _kept_type(kind: pa.DataType) -> pa.DataType:
    plain = _plain(kind)
    if pa.types.is_boolean(plain):
        return pa.bool_()
    if pa.types.is_floating(plain):
        return pa.float64()
    if pa.types.is_uint64(plain):
        return plain
    return pa.int64() if pa.types.is_integer(plain) else pa.string()
