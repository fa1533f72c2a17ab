"""Tables with a column of texts, of conversations or of tokens, in Parquet or Arrow files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from saescope.progress import SILENT, Progress
from saescope.sources.files import Files
from saescope.sources.options import Split
from saescope.sources.tables.agreement import Agreement, agreed, refuse_column
from saescope.sources.tables.files import TableFile
from saescope.sources.tables.values import (
    bare,
    is_bytes,
    is_list,
    is_plain,
    is_text,
    kept_type,
    not_plain,
    outside_calendar,
    python_values,
)
from saescope.sources.texts.columns import MASK, Form, TextColumn, form_of_list, text_column
from saescope.sources.texts.documents import Document, decoded, free_name, scalar
from saescope.store.errors import DataError

_ROWS = 512


@dataclass(frozen=True)
class TableTexts:
    """A document per row; every other column of plain values is metadata."""

    files: Files
    text_key: str | None
    uses_text_key: bool = True

    @property
    def format(self) -> str:
        return self._tables[self.files.all[0]].format

    @property
    def splits(self) -> Sequence[Split]:
        return self.files.splits

    @cached_property
    def _tables(self) -> Mapping[Path, TableFile]:
        return {path: TableFile(path) for path in self.files.all}

    @cached_property
    def text(self) -> TextColumn:
        first = self.files.all[0]
        schemas = {path: table.schema for path, table in self._tables.items()}
        chosen = text_column(_forms(schemas[first], self.text_key), self.text_key, str(first))
        name, form = chosen.name, chosen.form
        kinds = {path: _type_at(schema, name) for path, schema in schemas.items()}
        if form is None:
            raise DataError(
                f"{first}: column {name!r} is {kinds[first]}; expected texts, conversations or tokens",
                "choose another with --text-key",
            )
        for path, kind in kinds.items():
            if kind is None or _form(name, kind, True) != form:
                refuse_column(name, path, kind, first, kinds[first])
        return chosen

    @cached_property
    def _root(self) -> str:
        """The column to read of the file: the text's, or the record that holds it."""
        name = self.text.name
        return name if name in self._tables[self.files.all[0]].schema.names else name.split(".")[0]

    @cached_property
    def _others(self) -> Agreement:
        text = self._root
        plain = {
            path: {f.name: kept_type(f.type) for f in table.schema if f.name != text and is_plain(f.type)}
            for path, table in self._tables.items()
        }
        return agreed(plain)

    def columns(self) -> Mapping[str, pa.DataType]:
        return {free_name(name): kind for name, kind in self._others.columns.items()}

    def notes(self) -> Sequence[str]:
        kept = {self._root, *self._others.columns}
        passed_over = [
            f.name for f in self._tables[self.files.all[0]].schema if not is_plain(f.type) and f.name not in kept
        ]
        notes = [not_plain(passed_over)] if passed_over else []
        return [*self.files.notes(), *self.text.notes(), *self._others.left_out, *notes]

    def fingerprint(self, split: Split | None) -> str:
        return self.files.fingerprint(split, self.text.key())

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        tables = [self._tables[path] for path in self.files.of(split)]
        total, done = sum(table.n_rows for table in tables), 0
        lost: dict[str, int] = {}
        for table in tables:
            others = [f.name for f in table.schema if f.name in self._others.columns and is_plain(f.type)]
            mask = [MASK] if self.text.form == "tokens" and MASK in table.schema.names else []
            for batch in table.batches([self._root, *others, *(m for m in mask if m not in others)], _ROWS):
                for document in self._documents(batch, others, f"{table.path}", lost):
                    yield document
                    done += 1
                    progress.update("tokenising texts", done, total)
        for name, n in lost.items():
            progress.tell(outside_calendar(name, n))

    def _documents(
        self, batch: pa.RecordBatch, others: Sequence[str], subject: str, lost: dict[str, int]
    ) -> Iterator[Document]:
        columns: dict[str, list[Any]] = {free_name(name): [None] * len(batch) for name in self._others.columns}
        for name in others:
            column = batch.column(name)
            values = [scalar(value) for value in python_values(column)]
            if pa.types.is_temporal(column.type) and (n_lost := values.count(None) - column.null_count):
                lost[name] = lost.get(name, 0) + n_lost
            target = self._others.columns[name]
            columns[free_name(name)] = [float(v) if v is not None and target == pa.float64() else v for v in values]
        texts = _column_at(batch, self.text.name)
        if self.text.form == "text":
            if pa.types.is_dictionary(texts.type):
                texts = texts.dictionary_decode()
            texts = texts.cast(pa.large_binary())  # Parquet does not promise that its strings are valid UTF-8
        mask = batch.column(MASK) if MASK in batch.schema.names and self.text.form == "tokens" else None
        for row in range(len(texts)):
            value, known = texts[row].as_py(), {name: found[row] for name, found in columns.items()}
            if self.text.form == "text":
                yield Document((decoded(value),) if value else (), known)
            else:
                yield self.text.document(value, known, None if mask is None else mask[row].as_py(), subject)


def _forms(schema: pa.Schema, wanted: str | None) -> dict[str, Form | None]:
    forms = {field.name: _form(field.name, field.type, field.name == wanted) for field in schema}
    if wanted is not None and wanted not in forms and (kind := _type_at(schema, wanted)) is not None:
        forms[wanted] = _form(wanted, kind, True)
    return forms


def _form(name: str, kind: pa.DataType, is_wanted: bool) -> Form | None:
    """What a column of this type may be read as."""
    kind = bare(kind)
    if is_text(kind) or (is_wanted and is_bytes(kind)):
        return "text"
    if pa.types.is_struct(kind) and kind.num_fields and all(is_list(field.type) for field in kind):
        # A list of records is written as a record of lists by some libraries.
        return form_of_list(name, [field.name for field in kind], False, False, is_wanted)
    if not is_list(kind):
        return None
    inner = bare(kind.value_type)
    fields = [field.name for field in inner] if pa.types.is_struct(inner) else None
    return form_of_list(name, fields, is_text(inner), pa.types.is_integer(inner), is_wanted)


def _type_at(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a column, or of a field of a record in it: 'document.text'."""
    if name in schema.names:
        return schema.field(name).type
    first, _, rest = name.partition(".")
    if not rest or first not in schema.names or not pa.types.is_struct(kind := schema.field(first).type):
        return None
    return _type_at(pa.schema(list(kind)), rest)


def _column_at(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        return batch.column(name)
    first, rest = name.split(".", 1)
    return pc.struct_field(batch.column(first), rest.split("."))
