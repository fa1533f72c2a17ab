"""What a source says about an item, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saescope.store.numbers import count, significant
from saescope.store.token_text import visible

_DATA = frozenset({"item_id", "image", "tokens", "token_ids"})
"""Columns that are the item itself."""
_PLACE = frozenset({"context_start", "document_id"})
"""Columns that say where an item stands, not what it is."""


def metadata_lines(item: Mapping[str, Any]) -> list[str]:
    """An item's label and metadata as 'name: value', without its data."""
    lines = []
    for name, value in item.items():
        if name not in _DATA and value is not None:
            shown = significant(value) if isinstance(value, float) else str(value)
            lines.append(f"{name}: {shown[:80]}")
    return lines


def about(item: Mapping[str, Any]) -> str:
    """An item's metadata in a few words, then its document: 'help · assert · en · doc 12'."""
    hidden = _DATA | _PLACE
    words = [str(value)[:60] for name, value in item.items() if name not in hidden and value not in (None, "")]
    if item.get("document_id") is not None:
        words.append(f"doc {item['document_id']}")
    return visible(" · ".join(words)) or f"item {item['item_id']}"


def about_lines(item: Mapping[str, Any]) -> list[str]:
    """Everything that is known of an item, a line each."""
    lines = [f"item {count(int(item['item_id']))}"]
    for name, value in item.items():
        if name in _DATA or value is None:
            continue
        words = {"document_id": "document", "context_start": "begins at token"}.get(name, name)
        shown = significant(value) if isinstance(value, float) else visible(str(value))[:200]
        lines.append(f"{words}: {shown}")
    return lines
