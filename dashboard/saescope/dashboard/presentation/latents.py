"""The map of a code of two or three units: every point is a position, coloured by its item's label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components.latent_map import latent_map
from saescope.dashboard.components.pictures import Sprite, image_sprite
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.state import links
from saescope.store.numbers import count, signed

if TYPE_CHECKING:
    from saescope.store import Entry

MOST_PIXELS = 2**23
"""Of all pictures under the pointer together; where they are more, points have words alone."""
PICTURE_SIDE = 84
OTHER, UNLABELLED = "other", "no label"


def groups_of(labels: Sequence[str | None], most: int) -> tuple[list[int], list[str]]:
    """The group of each label and the groups' names: the `most` commonest labels, then all others as one, then none."""
    counted = Counter(label for label in labels if label is not None)
    kept = sorted((label for label, _ in counted.most_common(most)), key=_natural)
    names = [*kept]
    if len(counted) > len(kept):
        names.append(OTHER)
    if None in labels:
        names.append(UNLABELLED)
    place = {label: i for i, label in enumerate(kept)}
    rest, none = len(kept), len(names) - 1
    return [none if label is None else place.get(label, rest) for label in labels], names


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, before words."""
    return (0, float(label), label) if label.isascii() and label.isdigit() else (1, 0.0, label)


def show(entry: Entry) -> None:
    """Draw the map; `entry` has the table."""
    table = entry.latent_map()
    assert table is not None
    codes = np.stack(table["values"].to_numpy()) if table.num_rows else np.zeros((0, entry.n_features))
    labels: list[str | None] = table["label"].to_pylist()
    items, positions = table["item_id"].to_pylist(), table["position"].to_pylist()
    groups, names = groups_of(labels, len(theme.CATEGORIES))
    sprite, tiles = _pictures(entry.sae_id, entry.version, entry)
    whole = entry.source.positions_per_item == 1
    latent_map(
        codes.T.round(4).tolist(),
        groups,
        names,
        [_colour(name, i) for i, name in enumerate(names)],
        axes=[f"unit {i}" for i in range(entry.n_features)],
        values=items,
        tips=[
            "\n".join(
                [
                    f"item {count(item)}" + ("" if whole else f", position {position}"),
                    *([] if label is None else [f"label: {label[:80]}"]),
                    "(" + ", ".join(signed(float(v)) for v in code) + ")",
                ]
            )
            for item, position, label, code in zip(items, positions, labels, codes, strict=True)
        ],
        pictures=[tiles.get(item, -1) for item in items],
        sprite=sprite,
        scale=1 if sprite is None else max(1, round(PICTURE_SIDE / max(sprite.height, sprite.width))),
        href=links.href("reconstructions", sae=entry.sae_id) + "&item=",
        key="_latent_map",
        label="Codes of the sampled items",
    )
    st.caption(
        f"{count(table.num_rows)} positions of {count(len(set(items)))} items, the same for every code of two or three "
        "units on this source. Point at one for its item; a click opens it, a label hides or shows its points."
    )


def _colour(name: str, place: int) -> str:
    if name in (OTHER, UNLABELLED) or place >= len(theme.CATEGORIES):
        return theme.DEAD[theme.scheme()]
    return theme.CATEGORIES[place]


@st.cache_data(show_spinner=False, max_entries=4)
def _pictures(sae_id: str, version: str, _entry: Any) -> tuple[Sprite | None, dict[int, int]]:
    """The pictures of the map's items as one sprite and the tile of each, where they are pictures and not too many."""
    shown = presenter(_entry)
    shape = shown.picture_shape
    items = np.unique(_entry.latent_map()["item_id"].to_numpy())
    if shape is None or len(items) * shape.height * shape.width > MOST_PIXELS or not len(items):
        return None, {}
    rows = _entry.items(items).to_pylist()
    kept = [(row["item_id"], image) for row in rows if (image := shown.picture(row)) is not None]
    if not kept:
        return None, {}
    return image_sprite([image for _, image in kept]), {item: tile for tile, (item, _) in enumerate(kept)}
