"""Documents, whatever file they come from: read one after another, each as text with what is known about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.options import Split
from saescope.store.errors import UserError

TEXT_NAMES = ("text", "content", "contents", "body", "document", "article", "sentence", "prompt", "code", "markdown")
"""Names of a column of texts, the most usual first."""
MAX_VALUE = 500
"""Characters of a metadata value; what is longer is cut."""
_RESERVED = frozenset({"item_id", "document_id", "context_start", "token_ids", "tokens", "image", "label"})

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Document:
    """One document. `parts` joined give its text; they may be read as they are asked for, once, in order."""

    parts: Iterable[str]
    values: Mapping[str, Scalar] = field(default_factory=dict)
    """Metadata, by the columns of `Documents.columns`."""


class Documents(Protocol):
    """A corpus on disk, embedded or on a hub. Reading it twice gives the same documents in the same order."""

    @property
    def format(self) -> str:
        """'parquet', 'jsonl', 'csv', 'text', ..."""
        ...

    @property
    def splits(self) -> Sequence[Split]:
        """('train', 'test') where the data has both, else ()."""
        ...

    @property
    def uses_text_key(self) -> bool:
        """Whether the option text_key means something here."""
        ...

    def columns(self) -> Mapping[str, pa.DataType]:
        """Metadata columns and their types."""
        ...

    def fingerprint(self, split: Split | None) -> str:
        """Changes whenever what would be read changes."""
        ...

    def read(self, split: Split | None, progress: Progress = SILENT) -> Iterator[Document]:
        """The documents of a split (None: all), streamed. Empty ones are among them."""
        ...


def text_column(names: Sequence[str], holds_text: Iterable[str], wanted: str | None, subject: str) -> str:
    """The column with the texts. `UserError` naming the nearest columns where it is not there or not clear."""
    if wanted is not None:
        if wanted in names:
            return wanted
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UserError(f"{subject}: no column {wanted!r}{meant}", f"it has {listed(names)}")
    usable = list(holds_text)
    by_name = [c for n in TEXT_NAMES for c in usable if c.lower() == n]
    if by_name:
        return by_name[0]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise UserError(f"{subject}: no column holds texts", f"it has {listed(names)}; expected a column of strings")
    raise UserError(f"{subject}: cannot tell which column holds the texts: {listed(usable)}", "name it with --text-key")


def listed(names: Sequence[str], most: int = 12) -> str:
    """'a, b, c and 5 more', or 'nothing'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"


def free_name(name: str) -> str:
    """A metadata column's name in the store, where some names are taken."""
    return f"source_{name}" if name in _RESERVED else name


def decoded(data: bytes) -> str:
    """UTF-8 (or UTF-16 that says so) as text. Bytes that are neither become U+FFFD."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def well_formed(text: str) -> str:
    """The text with lone surrogates (which JSON can write, but no encoding holds) as U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def scalar(value: object) -> Scalar:
    """A metadata value as it is kept: numbers and booleans as they are, all else as text of bounded length."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        value = decoded(value)
    text = well_formed(str(value))
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def read_error(path: Path, error: OSError) -> UserError:
    """A file that cannot be read, told."""
    return UserError(f"{path}: cannot be read ({error.strerror or error})")
