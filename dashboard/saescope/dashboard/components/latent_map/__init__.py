"""Codes of two or three units as points on a plane for each pair of units, with the item under the pointer.

Points are drawn on a canvas: there are thousands. Texts reach the page by `textContent` and the canvas alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import Sprite

_mount = st.components.v2.component(
    "saescope_latent_map",
    html='<div class="root"></div>',
    css=assets.text_of("browser/pictures.css", "browser/tooltips.css", "latent_map/latent_map.css"),
    js=assets.text_of("browser/sprites.js", "browser/opening.js", "latent_map/latent_map.js"),
)


def latent_map(
    codes: Sequence[Sequence[float]],
    groups: Sequence[int],
    names: Sequence[str],
    colours: Sequence[str],
    *,
    axes: Sequence[str],
    values: Sequence[int],
    tips: Sequence[str],
    pictures: Sequence[int],
    sprite: Sprite | None,
    scale: int,
    href: str,
    key: str,
    label: str,
) -> None:
    """Draw a map for each pair of units. `codes` [unit][point]; `groups` [point] are indices of `names` and `colours`.

    `axes` name the units. A click on a point opens `href` with its value appended. `tips` are lines of each point,
    `pictures` its tile of `sprite`.
    """
    data = {
        "codes": [list(unit) for unit in codes],
        "groups": list(groups),
        "names": list(names),
        "colours": list(colours),
        "axes": list(axes),
        "values": list(values),
        "tips": list(tips),
        "pictures": list(pictures),
        "sprite": None if sprite is None else sprite.payload(),
        "scale": scale,
        "href": href,
        "label": label,
    }
    _mount(key=key, data=data)
