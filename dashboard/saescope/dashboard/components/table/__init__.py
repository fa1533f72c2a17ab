"""A dense table whose rows are links: exact number formats, small pictures, sorting by the server.

Streamlit's data frame draws on a canvas and can neither write "1.3 % (1 in 77)" nor make a row a link. This one is
plain HTML: a click on a row opens it in the same session, a middle click in a new tab, and Enter works too. All text
goes through `textContent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import Sprite

MAX_ROWS = 1000


@dataclass(frozen=True)
class Column:
    """`help` is shown on hover over the title (the formula). `sort_key`, if any, makes the title a sort button."""

    title: str
    help: str = ""
    align: Literal["left", "right"] = "right"
    sort_key: str | None = None
    grows: bool = False


@dataclass(frozen=True)
class Cell:
    """`dot` is a mark of this colour before the text, `bar` a fraction drawn behind it, `tile` a tile of the sprite."""

    text: str
    dot: str | None = None
    muted: bool = False
    colour: str | None = None
    bar: float | None = None
    tile: int | None = None
    help: str = ""


@dataclass(frozen=True)
class Row:
    """`href` is the address that a click anywhere on the row leads to, if any; `marked` rows stand out."""

    cells: Sequence[Cell]
    href: str | None = None
    marked: bool = False


@dataclass(frozen=True)
class Sort:
    """The present order, for the arrow in the header."""

    key: str
    descending: bool = True


_mount = st.components.v2.component(
    "saescope_table",
    html='<div class="root"></div>',
    css=assets.text_of("table/table.css"),
    js=assets.text_of("browser/sprites.js", "browser/opening.js", "table/table.js"),
)


def _cell(cell: Cell) -> dict[str, Any]:
    shown: dict[str, Any] = {"text": cell.text}
    for name, value in (("dot", cell.dot), ("colour", cell.colour), ("bar", cell.bar), ("tile", cell.tile)):
        if value is not None:
            shown[name] = value
    if cell.muted:
        shown["muted"] = True
    if cell.help:
        shown["help"] = cell.help
    return shown


def _nothing() -> None:
    """A trigger exists only where a callback is registered; the value is read from the result."""


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    key: str,
    *,
    sort: Sort | None = None,
    sprite: Sprite | None = None,
    scale: int = 1,
    height: int | None = None,
    page: str = "",
) -> str | None:
    """Draw `rows` (at most 1,000); return the `sort_key` of the column whose title was clicked in this run, else None.

    `scale` is the number of CSS pixels for a pixel of the sprite. `height` (px) makes the table scroll inside itself;
    the place is kept as long as `page` is the same.
    """
    if len(rows) > MAX_ROWS:
        raise ValueError(f"a table holds at most {MAX_ROWS} rows, not {len(rows)}")
    data: dict[str, Any] = {
        "columns": [
            {"title": c.title, "help": c.help, "align": c.align, "sort": c.sort_key, "grows": c.grows} for c in columns
        ],
        "rows": [{"href": r.href, "marked": r.marked, "cells": [_cell(c) for c in r.cells]} for r in rows],
        "sort": None if sort is None else {"key": sort.key, "descending": sort.descending},
        "sprite": None if sprite is None else sprite.payload(),
        "scale": scale,
        "height": height,
        "page": page,
    }
    clicked = getattr(_mount(key=key, data=data, on_sorted_change=_nothing), "sorted", None)
    return clicked if clicked in {column.sort_key for column in columns} else None
