"""How the items, atoms and features of one entry are presented: what pages ask, whatever the kind of its source.

A kind of item is one module of this package with a subclass of `Presenter` that says in `describes` which sources it
is for. What a subclass leaves as it is here suits items of which nothing is known but their numbers and metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.pictures import PictureShape
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.presentation.metadata import metadata_lines
from saescope.store.format.source import SourceDescription
from saescope.store.numbers import count, signed, significant

if TYPE_CHECKING:
    from saescope.store import Entry
    from saescope.store.records import Example

MOST = 20
"""Examples that there is always place for."""

Items = Mapping[int, Mapping[str, Any]]


class Presenter:
    """The presentation of one entry."""

    describes: ClassVar[tuple[type[SourceDescription], ...]] = ()
    """Descriptions of sources that it is for, with their subclasses."""
    by_position: ClassVar[bool] = False
    """Whether an item is shown by what fires at each of its positions, not by how it is rebuilt: the activations come
    from inside a model."""
    has_contexts: ClassVar[bool] = False
    """Whether an example can be shown with more around it."""
    has_lists: ClassVar[bool] = False
    """Whether `show_lists` has something to show of a feature."""
    takes_texts: ClassVar[bool] = False
    """Whether a reader's own text can be probed."""
    takes_pictures: ClassVar[bool] = False
    """Whether a reader's own picture can be probed."""
    positions: ClassVar[str] = "positions"
    """What positions are called."""
    search_example: ClassVar[str] = "label words, #412, density < 0.01 and max_activation > 5"
    search_help: ClassVar[str] = ""
    """What can be searched for beside labels and statistics."""

    picture_shape: PictureShape | None = None
    """Of an item; None where items are no pictures."""
    atom_shape: PictureShape | None = None
    """Of an atom; None where it is no picture."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """Raw values that a picture shows as black and white."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @property
    def about(self) -> list[str]:
        """What there is to say of the source in a few words, beside its name and size."""
        return []

    def picture(self, item: Mapping[str, Any]) -> bytes | None:
        """The encoded picture that an item is, if any."""
        return None

    def stage(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """An item with its positions to point at; None where they have no place."""
        return None

    def picture_stage(self, image: bytes) -> dict[str, Any] | None:
        """An encoded picture as a stage with the positions of the entry's source; None where it has none."""
        return None

    @property
    def room(self) -> int:
        """Height in CSS pixels that is kept free where there are no examples, so that what follows stays in its place:
        that of `MOST` of them on a screen 1280 pixels wide."""
        return 300

    def show_examples(self, examples: Sequence[Example], *, key: str, strongest: float, whole: bool = False) -> None:
        """Draw `examples` of one feature in the order given.

        `strongest` (the feature's largest |activation|) is full colour, so that colours compare across its intervals.
        `whole` shows more around each.
        """
        items = {row["item_id"]: row for row in self.entry.items([e.item_id for e in examples]).to_pylist()}
        kept = [e for e in examples if e.item_id in items]
        if kept and all(self.can_draw(items[e.item_id]) for e in kept):
            self.draw_examples(kept, items, key=key, strongest=strongest, whole=whole)
        elif examples:
            self._rows(examples, items, key=key)
        else:
            with st.container(height=self.room, border=False):
                panels.empty("No position fired in this interval.")

    def can_draw(self, item: Mapping[str, Any]) -> bool:
        """Whether an item holds what `draw_examples` needs."""
        return False

    def draw_examples(
        self, examples: Sequence[Example], items: Items, *, key: str, strongest: float, whole: bool
    ) -> None:
        """Draw examples whose items can all be drawn; here as rows of numbers."""
        self._rows(examples, items, key=key)

    def show_lists(self, feature_id: int, n_firing: int, *, key: str) -> None:
        """What belongs to a feature beside its histogram."""

    def _rows(self, examples: Sequence[Example], items: Items, *, key: str) -> None:
        """Items that cannot be drawn: their numbers and metadata."""
        columns = (
            Column("activation", "this feature's activation at the position"),
            Column("item", "index of the item in the source's order"),
            Column("position", "position inside the item"),
            Column("metadata", "what the source says about the item", "left"),
        )
        rows = [
            Row(
                (
                    Cell(written(e.activation)),
                    Cell(count(e.item_id)),
                    Cell(count(e.position)),
                    Cell(" · ".join(metadata_lines(items.get(e.item_id, {}))) or "–", muted=True),
                ),
            )
            for e in examples
        ]
        table(columns, rows, key, height=self.room)


def written(activation: float | None) -> str:
    """An activation, with its sign where it is negative."""
    return signed(activation) if activation is not None and activation < 0 else significant(activation)
