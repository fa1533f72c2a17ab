"""Files of tables: Parquet, Arrow (Feather) and Arrow streams, which may be damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from saescope.sources.streams import compression_of, head_of, printable
from saescope.store.errors import DataError

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather", ".ipc")
SUFFIXES = (*PARQUET, *ARROW)
_STREAM = b"\xff\xff\xff\xff"


def is_table(path: Path, head: bytes) -> bool:
    """Whether a file is a table, by its first bytes or its name."""
    return head.startswith((b"PAR1", b"ARROW1", _STREAM)) or path.name.lower().endswith(SUFFIXES)


def guarded(path: Path, read: Callable[[], Any], what: str = "Parquet") -> Any:
    """What `read` returns; where it fails, a `DataError` that says so of the file at `path`."""
    try:
        return read()
    except Exception as error:  # damaged metadata leads Arrow to more than its own exceptions
        text = str(error).splitlines()[0] if str(error) else repr(error)
        raise DataError(
            f"{path}: not a whole {what} file ({text})", "it may be half-written or damaged: write or copy it again"
        ) from error


def unambiguous(schema: pa.Schema, path: Path) -> pa.Schema:
    """The schema itself. `DataError` where columns share a name: which one is meant cannot be said."""
    shared = [name for name, n in Counter(schema.names).items() if n > 1]
    if shared:
        raise DataError(f"{path}: more than one column is called {shared[0]!r}", "rename or remove all but one of them")
    return schema


@dataclass(frozen=True)
class TableFile:
    """One file, opened when it is asked for."""

    path: Path

    @cached_property
    def format(self) -> str:
        """'parquet' or 'arrow'."""
        head = head_of(self.path)
        if printable(str(self.path)) != str(self.path):
            raise DataError(f"{printable(str(self.path))}: the name of this table is not UTF-8", "rename it")
        if not head:
            raise DataError(f"{self.path} is empty; expected a table")
        if compression_of(head) is not None:
            raise DataError(f"{self.path}: a table that is compressed as a whole cannot be read", "unpack it first")
        is_arrow = head.startswith((b"ARROW1", _STREAM)) or self.path.name.lower().endswith(ARROW)
        return "arrow" if is_arrow and not head.startswith(b"PAR1") else "parquet"

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' names and types."""
        return unambiguous(self._guarded(lambda: self._checked(self._open()[0])), self.path)

    @cached_property
    def n_rows(self) -> int:
        """Rows of the whole table."""
        return int(self._guarded(lambda: self._open()[1]))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The rows in order, up to `rows` at a time, with these columns."""
        batches = self._guarded(lambda: self._read(list(columns), rows))
        while (batch := self._guarded(partial(next, batches, None))) is not None:
            yield batch

    def _read(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        if self.format == "parquet":
            yield from pq.ParquetFile(self.path).iter_batches(rows, columns=columns)
            return
        reader = self._arrow()
        found = (
            reader if hasattr(reader, "read_next_batch") else map(reader.get_batch, range(reader.num_record_batches))
        )
        for batch in found:
            chosen = batch.select(columns)
            for start in range(0, len(chosen), rows):
                yield chosen.slice(start, rows)

    def _open(self) -> tuple[pa.Schema, int]:
        if self.format == "parquet":
            file = pq.ParquetFile(self.path)
            return file.schema_arrow, file.metadata.num_rows
        return self._arrow().schema, sum(len(batch) for batch in self._read([], 1 << 30))

    def _arrow(self) -> Any:
        source = pa.memory_map(str(self.path))
        is_stream = head_of(self.path).startswith(_STREAM)
        return pa.ipc.open_stream(source) if is_stream else pa.ipc.open_file(source)

    def _checked(self, schema: pa.Schema) -> pa.Schema:
        _ = schema.names  # names that are not UTF-8 fail here
        return schema

    def _guarded(self, read: Callable[[], Any]) -> Any:
        return guarded(self.path, read, "Parquet" if self.format == "parquet" else "Arrow")
