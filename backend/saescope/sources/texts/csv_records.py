"""Records of delimited text: which character delimits them, and what a quotation mark means that nothing closes.

Quoting is that of RFC 4180: a value that begins with a quotation mark ends with one, and may span lines. Text that was
written without quoting holds such marks too. One that nothing closes would swallow the records after it: in
tab-separated text it is then a character like any other, elsewhere the line is named.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from saescope.sources.streams import SMALL
from saescope.sources.texts.documents import TEXT_NAMES
from saescope.store.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
_ENOUGH = 32
"""Lines in a row, each a record by itself, after which a quotation in tab-separated text counts as never closed."""


def delimiter_of(header: str, is_tsv: bool, wanted: str | None) -> str:
    """The character that parts the names of the first line: the one that makes the wanted column or one with a usual
    name for texts, then the one that makes most columns; a comma (of .tsv a tab) where that does not decide."""
    order = ("\t", ",", ";", "|") if is_tsv else DELIMITERS

    def rank(delimiter: str) -> tuple[bool, bool, int]:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return wanted in names, any(name.strip().lower() in TEXT_NAMES for name in names), len(names)

    return max(order, key=rank)  # the first of several that rank alike


class Records:
    """Iterates over (number of the record's last line, its values). The first record is the header."""

    def __init__(self, lines: Iterator[str], path: Path, *, is_tsv: bool, wanted: str | None) -> None:
        self._lines, self._path = lines, path
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self._number = 0
        self._n_columns = 0
        self._ended = False
        """Whether there are no more lines."""
        header = next((line for line in lines if line.strip()), "")
        stated = re.fullmatch(r"sep=(.)\s*", header)  # as spreadsheets write it
        if stated is None:
            self._waiting.append(header)
        else:
            self._number += 1
        self.delimiter = stated[1] if stated else delimiter_of(header, is_tsv, wanted)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(SMALL)
        reader = self._reader()
        while True:
            self._taken = []
            try:
                values = next(reader, None)
            except (_NeverClosed, csv.Error) as error:
                if isinstance(error, csv.Error) and len(self._taken) < 2:
                    raise DataError(
                        f"{self._path}: line {self._number}: not CSV that can be read ({error})",
                        "expected the columns' names in the first line",
                    ) from None
                values, reader = self._literal(), self._reader()
            else:
                if values is None:
                    return
                if (len(self._taken) > 1 or self._ended) and self._is_unsound():
                    values, reader = self._literal(), self._reader()
            if values:  # a blank line is no record
                self._n_columns = self._n_columns or len(values)
                yield self._number, values

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._source(), delimiter=self.delimiter)

    def _source(self) -> Iterator[str]:
        while True:
            line = self._waiting.popleft() if self._waiting else next(self._lines, None)
            if line is None:
                self._ended = True
                return
            self._taken.append(line)
            self._number += 1
            if self._has_tabs and len(self._taken) == _ENOUGH and self._are_records(self._taken[1:]):
                raise _NeverClosed
            yield line

    @property
    def _has_tabs(self) -> bool:
        return self.delimiter == "\t" and self._n_columns > 1

    def _are_records(self, lines: Sequence[str]) -> bool:
        return all(line.count("\t") == self._n_columns - 1 for line in lines)

    def _is_unsound(self) -> bool:
        """Whether the record of several lines that was just read is one only because a quotation was never closed."""
        try:
            list(csv.reader(self._taken, delimiter=self.delimiter, strict=True))
        except csv.Error:
            return True
        return self._has_tabs and self._are_records(self._taken[1:])

    def _literal(self) -> list[str]:
        """The first of the lines just taken as a record without quoting; the others are to be read again."""
        first, *others = self._taken
        number = self._number - len(others)
        if self.delimiter != "\t":
            raise DataError(
                f"{self._path}: line {number} begins a quotation that is not closed as CSV closes it",
                'close it, or write quotation marks inside quoted values twice (""), and quote values that hold them',
            )
        self._waiting.extendleft(reversed(others))
        self._number, self._ended = number, False
        return next(csv.reader([first], delimiter="\t", quoting=csv.QUOTE_NONE), [])


class _NeverClosed(Exception):
    """A quotation swallows one whole record after another."""
