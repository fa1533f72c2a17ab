"""JSON Lines and CSV, gzipped or not: a document per line or row, the other columns as metadata."""

from __future__ import annotations

import csv
import io
import itertools
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.sources.texts.documents import (
    Document,
    decoded,
    free_name,
    read_error,
    scalar,
    text_column,
    well_formed,
)
from saescope.sources.texts.files import Files, open_bytes
from saescope.store.errors import UserError

_LOOKED_AT = 1000
"""Lines that tell which columns there are; columns that appear later only are not kept."""


@dataclass(frozen=True)
class LineTexts(ABC):
    """What JSON Lines and CSV have in common. Metadata is kept as text: nothing promises one type per column."""

    files: Files
    text_key: str | None
    uses_text_key: bool = True

    format = "lines"

    @property
    def splits(self) -> Sequence[Split]:
        return self.files.splits

    @abstractmethod
    def _rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        """Line number, columns and position in the file of each row."""

    @cached_property
    def _names(self) -> tuple[str, tuple[str, ...]]:
        """The text's column and the others."""
        names: dict[str, bool] = {}
        path = self.files.all[0]
        for _, row, _ in itertools.islice(self._rows(path), _LOOKED_AT):
            for name, value in row.items():
                names[name] = names.get(name, False) or isinstance(value, str)
        text = text_column(list(names), [n for n, is_text in names.items() if is_text], self.text_key, str(path))
        return text, tuple(name for name in names if name != text)

    def columns(self) -> Mapping[str, pa.DataType]:
        return {free_name(name): pa.string() for name in self._names[1]}

    def fingerprint(self, split: Split | None) -> str:
        return self.files.fingerprint(split, self.format, self._names)

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        text, others = self._names
        kept = {name: free_name(name) for name in others}
        paths = self.files.of(split)
        total, before = sum(path.stat().st_size for path in paths), 0
        for path in paths:
            for number, row, at in self._rows(path):
                value = row.get(text)
                if value is not None and not isinstance(value, str):
                    raise UserError(
                        f"{path}: line {number}: {text!r} is {type(value).__name__}; expected a text",
                        "choose another column with --text-key, or mend that line",
                    )
                values = {column: _as_text(row.get(name)) for name, column in kept.items()}
                yield Document((well_formed(value),) if value else (), values)
                progress.update("tokenising texts", min(before + at, total), total)
            before += path.stat().st_size


class JsonLines(LineTexts):
    """One JSON object per line; blank lines are passed over. An array of objects is read too, as a whole."""

    format = "jsonl"

    def _rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        at = 0
        for number, line in _lines(path):
            at += len(line)
            text = decoded(line).strip()
            if not text:
                continue
            if number == 1 and text.startswith("["):
                rows = _parsed(b"".join(line for _, line in _lines(path)).decode("utf-8-sig", "replace"), path, number)
                for row in rows:
                    yield number, _object(row, path, number), path.stat().st_size
                return
            yield number, _object(_parsed(text, path, number), path, number), at


class CsvTexts(LineTexts):
    """Comma-separated values (.tsv: tab-separated) with the names of the columns in the first row."""

    format = "csv"

    def _rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        csv.field_size_limit(2**31 - 1)  # documents are longer than the reader expects
        tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
        try:
            with open_bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as file:
                reader = csv.DictReader(file, dialect="excel-tab" if tabs else "excel")
                for row in reader:
                    more = row.pop(None, None)
                    if more:
                        raise UserError(
                            f"{path}: line {reader.line_num} has more values than the first line has names",
                            "quote texts that hold commas",
                        )
                    yield reader.line_num, row, raw.tell()
        except csv.Error as error:
            raise UserError(f"{path}: not CSV that can be read ({error})", "expected names in the first line") from None
        except (zlib.error, EOFError) as error:
            raise UserError(f"{path}: damaged gzip ({error})", "copy it again") from None
        except OSError as error:
            raise read_error(path, error) from error


def _parsed(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        reason = getattr(error, "msg", str(error))
        raise UserError(f"{path}: line {line} is no JSON ({reason})", "expected one object per line") from None
    except RecursionError:
        raise UserError(f"{path}: line {line} is nested too deeply", "expected one object per line") from None


def _object(row: Any, path: Path, line: int) -> Mapping[str, Any]:
    if isinstance(row, dict):
        return row
    raise UserError(
        f"{path}: line {line} is {type(row).__name__}, not an object",
        'expected one object per line, such as {"text": "..."}',
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open_bytes(path) as file:
            yield from enumerate(file, 1)
    except (zlib.error, EOFError) as error:
        raise UserError(f"{path}: damaged gzip ({error})", "copy it again") from None
    except OSError as error:
        raise read_error(path, error) from error


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    kept = scalar(value)
    return None if kept is None else str(kept)
