"""Examples of a feature in the terminal: how those of each kind of source are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saescope.cli.report import count, number, table
from saescope.cli.show_texts import show_strips
from saescope.store.format.source import SourceDescription, TextDescription
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry
    from saescope.store.records import Example

Items = Mapping[int, Mapping[str, Any]]


def show_examples(entry: Entry, examples: Sequence[Example]) -> None:
    """Print examples in the order given, as suits the source of `entry`."""
    items = {row["item_id"]: row for row in entry.items([e.item_id for e in examples]).to_pylist()}
    _WRITERS[next(cls for cls in type(entry.source).__mro__ if cls in _WRITERS)](examples, items)


def _show_rows(examples: Sequence[Example], items: Items) -> None:
    """Numbers, with what the source says about the items."""
    rows = [
        (str(e.rank), number(e.activation), count(e.item_id), str(e.position), _words(items.get(e.item_id, {})))
        for e in examples
    ]
    table(("rank", "activation", "item", "position", "label and metadata"), rows, right=(0, 1, 2, 3))


def _show_texts(examples: Sequence[Example], items: Items) -> None:
    """Lines of text, where the items hold any."""
    whole = all(items.get(e.item_id, {}).get("tokens") for e in examples)
    (show_strips if whole else _show_rows)(examples, items)


_WRITERS: dict[type, Callable[[Sequence[Example], Items], None]] = {
    SourceDescription: _show_rows,
    TextDescription: _show_texts,
}
"""What describes a source -> what writes its examples; a kind that is not here is written as its nearest base."""


def _words(item: Mapping[str, Any]) -> str:
    """An item's label and metadata in a few words."""
    label = item.get("label")
    hidden = {"item_id", "label", "image", "token_ids", "tokens"}
    shown = {k: v for k, v in item.items() if k not in hidden and v is not None and not isinstance(v, list)}
    more = [f"{k}={number(v) if isinstance(v, float) else v}" for k, v in shown.items()]
    return visible(", ".join([*([str(label)] if label is not None else []), *more]))
