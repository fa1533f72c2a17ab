"""JSON Lines and CSV, compressed or not: a document per line or row, the other columns as metadata."""

from __future__ import annotations

import io
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.files import Files, listed
from saescope.sources.options import Split
from saescope.sources.streams import bare_name, bomb, limit, lines_of, open_bytes
from saescope.sources.texts.columns import MASK, Form, TextColumn, form_of_value, text_column, value_at
from saescope.sources.texts.csv_records import Records
from saescope.sources.texts.documents import (
    Document,
    free_name,
    scalar,
    well_formed,
)
from saescope.sources.texts.whole_json import documents_of
from saescope.store.errors import DataError

_BOM = "\ufeff"
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
    def _names(self) -> tuple[TextColumn, tuple[str, ...]]:
        """The text's column and the others."""
        forms: dict[str, Form | None] = {}
        path, wanted = self.files.all[0], self.text_key
        for _, row, _ in itertools.islice(self._rows(path), _LOOKED_AT):
            for name, value in row.items():
                form = forms.get(name) or form_of_value(name, value, name == wanted)
                forms[name] = "text" if isinstance(value, str) else form
            if wanted is not None and wanted not in row and (nested := value_at(row, wanted)) is not None:
                forms[wanted] = form_of_value(wanted, nested, True)
        text = text_column(forms, wanted, str(path))
        text = replace(text, form=text.form or "text")  # a value that is no text is told with its line
        return text, tuple(name for name in forms if name != text.name)

    @property
    def text(self) -> TextColumn:
        return self._names[0]

    def columns(self) -> Mapping[str, pa.DataType]:
        return {free_name(name): pa.string() for name in self._names[1]}

    def notes(self) -> Sequence[str]:
        return [*self.files.notes(), *self.text.notes()]

    def fingerprint(self, split: Split | None) -> str:
        return self.files.fingerprint(split, self.format, (self.text.key(), self._names[1]))

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        text, others = self._names
        kept = {name: free_name(name) for name in others}
        paths = self.files.of(split)
        total, before = sum(path.stat().st_size for path in paths), 0
        without: list[str] = []
        for path in paths:
            n_rows = n_found = 0
            for number, row, at in self._rows(path):
                value = value_at(row, text.name)
                n_rows, n_found = n_rows + 1, n_found + (value is not None or text.name in row)
                values = {column: _as_text(row.get(name)) for name, column in kept.items()}
                subject = f"{path}: line {number}"
                if text.form != "text":
                    yield text.document(value, values, row.get(MASK), subject)
                elif value is not None and not isinstance(value, str):
                    raise DataError(
                        f"{subject}: {text.name!r} is {type(value).__name__}; expected a text",
                        "choose another column with --text-key, or mend that line",
                    )
                else:
                    yield Document((well_formed(value),) if value else (), values)
                progress.update("tokenising texts", min(before + at, total), total)
            before += path.stat().st_size
            if n_rows and not n_found:
                without.append(self.files.name(path))
        if without:
            progress.tell(f"{self.files.root}: nothing is read of files without {text.name!r}: {listed(without, 5)}")


class JsonLines(LineTexts):
    """One JSON object per line; blank lines are passed over. A file that is one array of objects, or one object, is
    read as a whole (see `whole_json`)."""

    format = "jsonl"

    def _rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        at, only = 0, None
        with _open_lines(path, "\n") as lines:
            numbered = ((number, line) for number, line in enumerate(lines, 1) if line.removeprefix(_BOM).strip())
            for place, (number, line) in enumerate(numbered):
                at += len(line)
                text = line.removeprefix(_BOM).strip()
                if place == 0 and (text.startswith("[") or _goes_on(text)):
                    whole = _parsed(text + "\n" + _rest(lines, path), path, number)
                    rows = whole if isinstance(whole, list) else self._documents(_object(whole, path, number), path)
                    for row in rows:
                        yield number, _object(row, path, number), path.stat().st_size
                    return
                row = _object(_parsed(text, path, number), path, number)
                if place == 0:
                    only = number, row, at  # unless another line follows
                    continue
                if only is not None:
                    yield only
                    only = None
                yield number, row, at
        if only is not None:
            number, row, at = only
            for document in self._documents(row, path):
                yield number, _object(document, path, number), at

    def _documents(self, whole: Mapping[str, Any], path: Path) -> Sequence[Any]:
        return documents_of(whole, self.text_key, str(path))


class CsvTexts(LineTexts):
    """Delimited values with the names of the columns in the first row: by commas, tabs, semicolons or bars."""

    format = "csv"

    def _rows(self, path: Path) -> Iterator[tuple[int, Mapping[str, Any], int]]:
        is_tsv, at = bare_name(path.name).endswith((".tsv", ".tab")), 0
        with _open_lines(path, "") as lines:
            records = iter(Records(lines, path, is_tsv=is_tsv, wanted=self.text_key))
            _, names = next(records, (0, []))
            for number, values in records:
                if len(values) > len(names):
                    raise DataError(
                        f"{path}: line {number} has more values than the first line has names",
                        "quote texts that hold commas",
                    )
                at += sum(map(len, values))
                yield number, dict(itertools.zip_longest(names, values)), at


def _goes_on(text: str) -> bool:
    """Whether the line is the beginning of an object that goes on in the next one."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return text.startswith("{") and error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _parsed(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        reason, line = getattr(error, "msg", str(error)), line + getattr(error, "lineno", 1) - 1
        raise DataError(f"{path}: line {line} is no JSON ({reason})", "expected one object per line") from None
    except RecursionError:
        raise DataError(f"{path}: line {line} is nested too deeply", "expected one object per line") from None


def _object(row: Any, path: Path, line: int) -> Mapping[str, Any]:
    if isinstance(row, dict):
        return row
    raise DataError(
        f"{path}: line {line} is {type(row).__name__}, not an object",
        'expected one object per line, such as {"text": "..."}',
    )


@contextmanager
def _open_lines(path: Path, newline: str) -> Iterator[Iterator[str]]:
    """The lines of a text file in UTF-8, or in UTF-16 that says so, with their ends."""
    with open_bytes(path) as raw:
        first = raw.peek(2)[:2] if hasattr(raw, "peek") else b""
        encoding = "utf-16" if first in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with io.TextIOWrapper(raw, encoding, "replace", newline=newline) as file:
            yield lines_of(file, path)


def _rest(lines: Iterator[str], path: Path) -> str:
    """All lines that are left."""
    kept, size, most = [], 0, limit(path)
    for line in lines:
        kept.append(line)
        size += len(line)
        if size > most:
            raise bomb(path, "the array or object")
    return "".join(kept)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    kept = scalar(value)
    return None if kept is None else str(kept)
