"""One document, whatever file it comes from: its text with what is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

TEXT_NAMES = ("text", "content", "contents", "body", "document", "article", "sentence", "prompt", "code", "markdown")
"""Names of a column of texts, the most usual first."""
MAX_VALUE = 500
"""Characters of a metadata value; what is longer is cut."""
_RESERVED = frozenset({"item_id", "document_id", "context_start", "token_ids", "tokens", "image", "label"})

Scalar = str | int | float | bool | None


Turn = Mapping[str, str]
"""One utterance of a conversation: {'role', 'content'}."""


@dataclass(frozen=True)
class Document:
    """One document: its text, or in the place of it a conversation, or tokens made before.

    `parts` joined give the text; they may be read as they are asked for, once, in order.
    """

    parts: Iterable[str]
    values: Mapping[str, Scalar] = field(default_factory=dict)
    """Metadata, by the columns of `Documents.columns`."""
    turns: Sequence[Turn] | None = None
    ids: Int64[np.ndarray, " token"] | None = None


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
