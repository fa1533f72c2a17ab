"""What makes a feature fire: pictures (with the place, for patches), lines of text, or a table of other items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.pictures import (
    MAX_TILE,
    PatchGrid,
    heat_sprite,
    image_shape,
    image_sprite,
    patch_grid,
)
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.presentation import codes, texts
from saescope.dashboard.state import links
from saescope.store.numbers import count, signed, significant

if TYPE_CHECKING:
    from saescope.store import Entry
    from saescope.store.records import Example

SIDE, PATCH_SIDE = 80, 112
"""Aims for the longer side of an example in CSS pixels; a picture with a place in it needs more."""

MOST = 20
"""Examples that there is always place for."""

Items = Mapping[int, Mapping[str, Any]]


def show(entry: Entry, examples: Sequence[Example], *, key: str, strongest: float, whole: bool = False) -> None:
    """Draw `examples` of one feature in the order given.

    `strongest` (the feature's largest |activation|) is full colour, so that colours compare across its intervals.
    `whole` shows texts with their whole context.
    """
    items = {row["item_id"]: row for row in entry.items([e.item_id for e in examples]).to_pylist()}
    kept = [e for e in examples if e.item_id in items]
    if kept and all(items[e.item_id].get("tokens") for e in kept):
        texts.show_examples(entry, kept, items, key=key, strongest=strongest, whole=whole, room=MOST)
    elif kept and all(items[e.item_id].get("image") for e in kept):
        _pictures(entry, kept, items, key=key, strongest=strongest)
    elif examples:
        _rows(entry, examples, items, key=key)
    else:
        with st.container(height=room(entry), border=False):
            panels.empty("No position fired in this interval.")


def metadata_lines(item: Mapping[str, Any]) -> list[str]:
    """An item's label and metadata as 'name: value', without its data."""
    hidden = {"item_id", "image", "tokens", "token_ids"}
    lines = []
    for name, value in item.items():
        if name in hidden or value is None:
            continue
        shown = significant(value) if isinstance(value, float) else str(value)
        lines.append(f"{name}: {shown[:80]}")
    return lines


def _scale(entry: Entry, height: int, width: int) -> int:
    """Whole factor that brings a picture of this size near the side that is aimed at."""
    aim = SIDE if patch_grid(entry.manifest.source) is None else PATCH_SIDE
    return max(1, round(aim / max(height, width)))


def room(entry: Entry) -> int:
    """Height in CSS pixels that is kept free where there are no examples, so that what follows stays in its place:
    that of `MOST` of them on a screen 1280 pixels wide."""
    if texts.is_text(entry):
        return MOST * texts.LINE
    shape = image_shape(entry.manifest.source)
    if shape is None:
        return 300
    height, width = min(shape.height, MAX_TILE), min(shape.width, MAX_TILE)
    scale = _scale(entry, height, width)
    rows = -(-MOST // max(1, 950 // (width * scale + 6)))
    return min(rows, 3) * (height * scale + 23)


def _pictures(entry: Entry, examples: Sequence[Example], items: Items, *, key: str, strongest: float) -> None:
    sprite = image_sprite([items[e.item_id]["image"] for e in examples])
    grid = patch_grid(entry.manifest.source)
    if grid is not None and (grid.height, grid.width) != (sprite.height, sprite.width):
        grid = None  # the pictures were reduced: places in them would be wrong
    overlay = None
    if grid is not None:
        overlay = heat_sprite(np.stack([_heat(grid, e) for e in examples]), strongest)
    tiles = []
    for example in examples:
        corner = None if grid is None else grid.corner(example.position)
        place = None if grid is None or corner is None else (*corner, grid.patch, grid.patch)
        tip = [f"activation {_number(example.activation)}", f"item {count(example.item_id)}"]
        if grid is not None:
            tip.append(grid.name(example.position))
        tiles.append(
            Tile(
                example.item_id,
                "\n".join(tip + metadata_lines(items[example.item_id])),
                _number(example.activation),
                frame=place,
                mark=float(example.activation),
            )
        )
    picture_tiles(
        tiles,
        sprite,
        key=key,
        label="Examples",
        layout="strip",
        scale=_scale(entry, sprite.height, sprite.width),
        overlay=overlay,
        href=links.href("reconstructions", sae=entry.sae_id, feature=_leads_back(entry, examples)) + "&item=",
        room=MOST,
    )


def _leads_back(entry: Entry, examples: Sequence[Example]) -> int | None:
    """The feature that colours the page of an item, where that page shows codes by position."""
    return examples[0].feature_id if codes.by_position(entry) else None


def _number(activation: float) -> str:
    return significant(activation) if activation >= 0 else signed(activation)


def _heat(grid: PatchGrid, example: Example) -> np.ndarray:
    if example.window_activations is None:
        return np.zeros((grid.height, grid.width))
    return grid.spread(np.asarray(example.window_activations), example.window_start or 0)


def _rows(entry: Entry, examples: Sequence[Example], items: Items, *, key: str) -> None:
    """Items without a picture: their numbers and metadata."""
    columns = (
        Column("activation", "this feature's activation at the position"),
        Column("item", "index of the item in the source's order"),
        Column("position", "position inside the item"),
        Column("metadata", "what the source says about the item", "left"),
    )
    rows = [
        Row(
            (
                Cell(_number(e.activation)),
                Cell(count(e.item_id)),
                Cell(count(e.position)),
                Cell(" · ".join(metadata_lines(items.get(e.item_id, {}))) or "–", muted=True),
            ),
        )
        for e in examples
    ]
    table(columns, rows, key, height=room(entry))
