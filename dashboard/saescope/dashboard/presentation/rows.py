"""Rows of tables: examples are the columns that a feature is about, atoms signed bars by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.presentation.presenter import MOST, Items, Presenter, written
from saescope.dashboard.state import reads
from saescope.store.format.source import TableDescription
from saescope.store.numbers import count, signed, significant
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store.records import Example

N_COLUMNS = 6
"""Columns beside an example."""
N_BARS = 8
"""Dimensions of an atom that are listed."""
_RESERVED = frozenset({"item_id", "token_ids", "tokens", "image", "label"})


class TableRows(Presenter):
    """Items that are rows of a table."""

    describes: ClassVar = (TableDescription,)
    has_lists: ClassVar[bool] = True
    by_position: ClassVar[bool] = True
    positions: ClassVar[str] = "rows"

    @property
    def description(self) -> TableDescription:
        """The source's description."""
        source = self.entry.source
        assert isinstance(source, TableDescription)
        return source

    @property
    def about(self) -> list[str]:
        columns = len(self.description.columns)
        return [f"{count(columns)} columns as {count(len(self.description.dimensions))} dimensions"]

    @property
    def room(self) -> int:
        return 24 * (MOST + 1)

    def can_draw(self, item: Mapping[str, Any]) -> bool:
        return True

    def draw_examples(
        self, examples: Sequence[Example], items: Items, *, key: str, strongest: float, whole: bool
    ) -> None:
        """Each example with its values in the columns that matter most to the feature."""
        names = self.leading_columns(examples[0].feature_id)
        with_labels = any(row.get("label") is not None for row in items.values())
        columns = [
            Column("activation", "this feature's activation at the row"),
            Column("item", "index of the row in the source's order"),
            *([Column("label", "what the table says of the row", "left")] if with_labels else []),
            *(Column(visible(name), "value in the table, in its own units") for name in names),
        ]
        table(
            columns,
            [
                Row(
                    (
                        Cell(written(e.activation), bar=abs(e.activation) / strongest if strongest else None),
                        Cell(count(e.item_id)),
                        *([Cell(visible(str(items[e.item_id].get("label") or "–")))] if with_labels else []),
                        *(self.value(items[e.item_id], name) for name in names),
                    )
                )
                for e in examples
            ],
            key,
            height=self.room,
        )

    def show_lists(self, feature_id: int, n_firing: int, *, key: str) -> None:
        """The dimensions of the atom with the largest weights, as signed bars."""
        if not self.entry.has_atoms:
            st.caption("This decoder is not linear, so the feature has no weight for each column.")
            return
        st.caption("Raises and lowers", help="weights of the atom: what an activation of 1 adds to each scaled column")
        atom = reads.atoms(self.entry, (feature_id,))[0]
        show_bars(self.description.dimensions, atom, key, title="weight")

    def leading_columns(self, feature_id: int) -> list[str]:
        """Columns by the largest weight that the feature's atom has in them; without atoms the first ones."""
        columns = self.description.columns
        if not self.entry.has_atoms:
            return [column.name for column in columns[:N_COLUMNS]]
        weights = np.abs(reads.atoms(self.entry, (feature_id,))[0])
        ends = np.cumsum([len(column.dimensions) for column in columns])
        if not len(columns) or ends[-1] != len(weights):
            return [column.name for column in columns[:N_COLUMNS]]
        largest = np.maximum.reduceat(weights, np.concatenate([[0], ends[:-1]]))
        return [columns[i].name for i in np.argsort(-largest, kind="stable")[:N_COLUMNS]]

    @staticmethod
    def value(item: Mapping[str, Any], column: str) -> Cell:
        """What a row of the table says in one column."""
        found = item.get(f"source_{column}" if column.lower() in _RESERVED else column)
        if found is None:
            return Cell("missing", muted=True)
        if isinstance(found, float):
            return Cell(significant(found), help=f"{found:.10g}")
        return Cell(visible(str(found))[:60])


def show_bars(names: Sequence[str], values: np.ndarray, key: str, *, title: str) -> None:
    """The largest of `values`, one of each name, as bars coloured by their sign."""
    if len(names) != len(values):
        names = [f"dimension {i}" for i in range(len(values))]
    largest = np.argsort(-np.abs(values), kind="stable")[:N_BARS]
    most = float(np.abs(values).max(initial=0.0)) or 1.0
    low, _, high = theme.DIVERGING[theme.scheme()]
    rows = [
        Row(
            (
                Cell(visible(names[i])),
                Cell(signed(float(values[i])), bar=abs(float(values[i])) / most, colour=high if values[i] > 0 else low),
            )
        )
        for i in largest
    ]
    table([Column("column", align="left", grows=True), Column(title)], rows, key)
