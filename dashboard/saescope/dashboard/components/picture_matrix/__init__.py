"""Pictures in rows and columns with a heading each: what several methods make of the same items.

Wider than the page, it scrolls inside itself and keeps its first column in sight. Texts reach the page by
`textContent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import Sprite

Size = Literal["compact", "normal", "wide"]

_mount = st.components.v2.component(
    "saescope_picture_matrix",
    html='<div class="root"></div>',
    css=assets.text_of("browser/pictures.css", "browser/tooltips.css", "picture_matrix/picture_matrix.css"),
    js=assets.text_of(
        "browser/sprites.js", "browser/opening.js", "browser/tooltips.js", "picture_matrix/picture_matrix.js"
    ),
)


@dataclass(frozen=True)
class Heading:
    """Of a column or a row: a title and lines below it. `dot` is a mark of this colour before the title."""

    title: str
    lines: Sequence[str] = ()
    help: str = ""
    dot: str | None = None
    href: str | None = None


@dataclass(frozen=True)
class Picture:
    """One picture: tile `tile` of the sprite called `sheet`. `tip` is shown on hover, `href` opened by a click."""

    sheet: str
    tile: int
    tip: str = ""
    href: str | None = None


@dataclass(frozen=True)
class MatrixCell:
    """Pictures side by side with lines below; `strong` sets the first line apart (the best of its row)."""

    pictures: Sequence[Picture] = ()
    lines: Sequence[str] = ()
    strong: bool = False


@dataclass(frozen=True)
class MatrixRow:
    """A row: its heading, and a cell for each column."""

    heading: Heading
    cells: Sequence[MatrixCell]


@dataclass(frozen=True)
class Sheet:
    """A sprite, and how many CSS pixels a pixel of it is wide and high."""

    sprite: Sprite
    scale: int


def picture_matrix(
    columns: Sequence[Heading],
    rows: Sequence[MatrixRow],
    sheets: Mapping[str, Sheet],
    *,
    key: str,
    label: str,
    size: Size = "normal",
) -> None:
    """Draw it. The first of `columns` is the heading of the rows' headings; a row has one cell for each of the others.

    `label` names the whole for screen readers. `size` is the width of columns of several
    pictures: 'compact' for more than six, 'wide' for up to three.
    """
    names = {name: f"s{at}" for at, name in enumerate(sheets)}  # they become classes of a style sheet
    assert all(len(row.cells) == len(columns) - 1 for row in rows)
    data = {
        "label": label,
        "size": size,
        "columns": [_heading(column) for column in columns],
        "rows": [
            {"heading": _heading(row.heading), "cells": [_cell(cell, names) for cell in row.cells]} for row in rows
        ],
        "sheets": {names[name]: sheet.sprite.payload() | {"scale": sheet.scale} for name, sheet in sheets.items()},
    }
    _mount(key=key, data=data)


def _heading(heading: Heading) -> dict[str, Any]:
    return {
        "title": heading.title,
        "lines": list(heading.lines),
        "help": heading.help,
        "dot": heading.dot,
        "href": heading.href,
    }


def _cell(cell: MatrixCell, names: Mapping[str, str]) -> dict[str, Any]:
    pictures = [{"sheet": names[p.sheet], "tile": p.tile, "tip": p.tip, "href": p.href} for p in cell.pictures]
    return {"pictures": pictures, "lines": list(cell.lines), "strong": cell.strong}
