"""Inputs beside their reconstructions and residuals, with the features that build each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import Sprite

_mount = st.components.v2.component(
    "saescope_reconstruction_rows",
    html='<div class="root"></div>',
    css=assets.text_of("browser/pictures.css", "browser/tooltips.css", "reconstruction_rows/reconstruction_rows.css"),
    js=assets.text_of(
        "browser/sprites.js", "browser/opening.js", "browser/tooltips.js", "reconstruction_rows/reconstruction_rows.js"
    ),
)


@dataclass(frozen=True)
class Builder:
    """One feature's part in a picture: `share` of the whole (negative: it works against), `text` as it is written,
    `tile` its atom in the sprite of atoms."""

    feature_id: int
    share: float
    text: str
    tip: str
    tile: int


@dataclass(frozen=True)
class Row:
    """One item. `lines` stand below the title, `errors` beside the residual, `rest` after the builders."""

    title: str
    lines: Sequence[str]
    errors: Sequence[str]
    builders: Sequence[Builder]
    rest: str = ""


@dataclass(frozen=True)
class Title:
    """A column's title and its explanation on hover."""

    text: str
    help: str


def reconstruction_rows(
    rows: Sequence[Row],
    titles: Sequence[Title],
    *,
    inputs: Sprite | None,
    reconstructions: Sprite | None,
    residuals: Sprite | None,
    atoms: Sprite | None,
    scale: int,
    atom_scale: int,
    key: str,
    href: str,
) -> None:
    """Draw the rows; tile i of each sprite of pictures belongs to row i. `titles`: one for each of the six columns.

    `href` with a feature appended is its address.
    """
    data = {
        "titles": [{"text": title.text, "help": title.help} for title in titles],
        "rows": [
            {
                "title": row.title,
                "lines": list(row.lines),
                "errors": list(row.errors),
                "rest": row.rest,
                "builders": [
                    {"feature": b.feature_id, "share": b.share, "text": b.text, "tip": b.tip, "tile": b.tile}
                    for b in row.builders
                ],
            }
            for row in rows
        ],
        "input": inputs.payload() if inputs else None,
        "reconstruction": reconstructions.payload() if reconstructions else None,
        "residual": residuals.payload() if residuals else None,
        "atoms": atoms.payload() if atoms else None,
        "scale": scale,
        "atom_scale": atom_scale,
        "href": href,
    }
    _mount(key=key, data=data)
