"""Groups of pictures cut from one sprite, each of which opens something: atom grids, example strips, chips.

The browser shows the tip of a tile at once under the pointer and for the keyboard; arrow keys move inside a group.
Texts reach the page by `textContent` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import Sprite

Layout = Literal["grid", "strip", "chips"]
Tone = Literal["", "dead", "dense", "current"]

_mount = st.components.v2.component(
    "saescope_picture_tiles",
    html='<div class="root"></div>',
    css=assets.text_of("browser/pictures.css", "browser/tooltips.css", "picture_tiles/picture_tiles.css"),
    js=assets.text_of(
        "browser/sprites.js", "browser/opening.js", "browser/tooltips.js", "picture_tiles/picture_tiles.js"
    ),
)


@dataclass(frozen=True)
class Tile:
    """One picture of a group.

    `value` is what a click reports (None: not clickable); `tip` the lines shown on hover, separated by newlines;
    `picture` the index in the sprite (None: the tile's own index); `frame` a rectangle (top, left, height, width) in
    pixels of the picture; `mark` the activation that is marked on the page's histogram while the tile is pointed at.
    """

    value: int | None
    tip: str = ""
    caption: str = ""
    picture: int | None = None
    frame: tuple[int, int, int, int] | None = None
    tone: Tone = ""
    mark: float | None = None

    def payload(self) -> dict[str, Any]:
        """The fields that are not at their default, for the browser; `value` always."""
        optional = {
            "tip": self.tip,
            "caption": self.caption,
            "picture": self.picture,
            "frame": self.frame,
            "tone": self.tone,
            "mark": self.mark,
        }
        return {"value": self.value, **{k: v for k, v in optional.items() if v not in ("", None)}}


def opened_value(state: Any, allowed: Sequence[int | None]) -> int | None:
    """The value that a click reported, from a component's state: one of `allowed`, else None.

    What a browser sends is not trusted: anything that is not on the page is dropped.
    """
    value = state.get("open") if state is not None else None
    return value if type(value) is int and value in set(allowed) else None


def picture_tiles(
    tiles: Sequence[Tile],
    sprite: Sprite,
    *,
    key: str,
    label: str,
    layout: Layout = "grid",
    scale: int = 1,
    overlay: Sprite | None = None,
    href: str | None = None,
    on_open: Callable[[int], None] | None = None,
    room: int = 0,
) -> None:
    """Show `tiles`.

    `label` names the group for screen readers. `scale` is the whole number of CSS pixels for a pixel of a picture.
    `overlay` is a sprite of the same geometry laid over the pictures. `href`, with a value appended, is the address
    that a tile leads to. `on_open` is for tiles that lead to another state of this page: a plain click calls it with
    the value, before the run that the click starts, instead of following the link. `room` is a number of tiles
    that there is always place for, so that what follows does not move when there are fewer.
    """
    values = [tile.value for tile in tiles]

    def clicked() -> None:
        value = opened_value(st.session_state.get(key), values)
        if value is not None and on_open is not None:
            on_open(value)

    data = {
        "layout": layout,
        "label": label,
        "scale": scale,
        "sprite": sprite.payload(),
        "overlay": overlay.payload() if overlay is not None else None,
        "tiles": [tile.payload() for tile in tiles],
        "href": href,
        "tells": on_open is not None,
        "room": room,
    }
    _mount(key=key, data=data, on_open_change=clicked)
