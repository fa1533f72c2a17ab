"""A text or a picture with the code of each position: point at a place for its features, at a feature for its places.

Everything happens in the browser; links lead to features. Texts reach the page by `textContent` alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components import assets
from saescope.dashboard.components.pictures import PatchGrid, Sprite
from saescope.dashboard.components.token_strips import shown_pieces

_mount = st.components.v2.component(
    "saescope_position_codes",
    html='<div class="root"></div>',
    css=f":host {{ --activation: {theme.ACTIVATION}; }}\n"
    + assets.text_of(
        "browser/pictures.css", "browser/tooltips.css", "browser/tokens.css", "position_codes/position_codes.css"
    ),
    js=assets.text_of(
        "browser/sprites.js",
        "browser/opening.js",
        "browser/tokens.js",
        "browser/tooltips.js",
        "position_codes/position_codes.js",
    ),
)

MOST_HERE = 40
"""Features that are listed at one position; how many more fire is said."""
MOST_OVERALL = 40
MOST_ATOMS = 1_000
PICTURE_SIDE = 384
"""Aim for the longer side of a picture in CSS pixels."""


@dataclass(frozen=True)
class Code:
    """Firing features of one position, strongest first, and their activations."""

    feature_ids: npt.NDArray[np.int64]
    activations: npt.NDArray[np.float64]

    @staticmethod
    def of(feature_ids: Sequence[int] | npt.NDArray[Any], activations: Sequence[float] | npt.NDArray[Any]) -> Code:
        """The same from any sequences, put in order."""
        ids, values = np.asarray(feature_ids, np.int64), np.asarray(activations, np.float64)
        order = np.lexsort((ids, -np.abs(values)))
        return Code(ids[order], values[order])


@dataclass(frozen=True)
class Overall:
    """One feature over all positions: its largest activation by magnitude, where it is, at how many it fires."""

    feature_id: int
    activation: float
    position: int
    n_positions: int


def overall(codes: Sequence[Code], evaluated: Sequence[bool] | None = None) -> list[Overall]:
    """Every feature that fires at an `evaluated` position (None: all), strongest first; ties by id.

    What is left out of the statistics is left out here: at a first token, activations can be hundreds of times those
    of any other.
    """
    counted = [p for p in range(len(codes)) if evaluated is None or evaluated[p]]
    if not sum(len(codes[p].feature_ids) for p in counted):
        return []
    ids = np.concatenate([codes[p].feature_ids for p in counted])
    values = np.concatenate([codes[p].activations for p in counted])
    positions = np.repeat(counted, [len(codes[p].feature_ids) for p in counted])
    order = np.lexsort((positions, -np.abs(values), ids))
    features, first, counts = np.unique(ids[order], return_index=True, return_counts=True)
    best = order[first]
    rows = [
        Overall(int(i), float(values[b]), int(positions[b]), int(n))
        for i, b, n in zip(features, best, counts, strict=True)
    ]
    return sorted(rows, key=lambda row: (-abs(row.activation), row.feature_id))


def text_stage(tokens: Sequence[str], token_ids: Sequence[int] | None) -> dict[str, Any]:
    """Tokens to point at."""
    return {
        "kind": "text",
        "pieces": shown_pieces(tokens),
        "ids": None if token_ids is None else [int(i) for i in token_ids],
    }


def picture_stage(png: bytes, height: int, width: int, grid: PatchGrid) -> dict[str, Any]:
    """A picture of `height` x `width` pixels with the patches of `grid` to point at.

    Where patches overlap, each has the middle of its place.
    """
    scale = PICTURE_SIDE / max(height, width)
    scale = float(round(scale)) if scale >= 1 else scale
    down, across = height / grid.height * scale, width / grid.width * scale
    inset = max(0, grid.patch - grid.stride) / 2
    side = min(grid.patch, grid.stride)
    cells = []
    for place in range(grid.rows * grid.columns):
        corner = grid.corner(grid.prefix + place)
        assert corner is not None
        top, left = corner
        cells.append([(top + inset) * down, (left + inset) * across, side * down, side * across])
    return {
        "kind": "picture",
        "src": "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "height": height * scale,
        "width": width * scale,
        "cells": cells,
        "prefix": [grid.name(position) for position in range(grid.prefix)],
        "names": [grid.name(position) for position in range(grid.prefix + len(cells))],
    }


def position_codes(
    stage: Mapping[str, Any],
    codes: Sequence[Code],
    *,
    key: str,
    labels: Mapping[int, str],
    strongest: Mapping[int, float],
    href: str,
    evaluated: Sequence[bool] | None = None,
    at: int | None = None,
    feature: int | None = None,
    relative: bool = False,
    atoms: Callable[[Sequence[int]], Sprite] | None = None,
    atom_scale: int = 1,
) -> None:
    """Draw `stage` with its codes.

    `strongest` is the |activation| of each feature that is full colour (its largest in the store), `labels` what
    features are called. `href` with a feature appended is its address. `evaluated` marks the positions that statistics
    count. `at` is the position that is looked at first (default: the strongest firing), `feature` the one that
    colours the places while none is pointed at. `relative` orders by the share of each feature's strongest.
    `atoms` draws the atoms of the given features (at most `MOST_ATOMS`), `atom_scale` CSS pixels for one of theirs.
    """

    def share(feature_id: int, activation: float) -> float:
        return abs(activation) / (strongest.get(feature_id) or abs(activation) or 1.0)

    everywhere = overall(codes, evaluated)
    if relative:
        everywhere.sort(key=lambda row: (-share(row.feature_id, row.activation), row.feature_id))
    shown: list[tuple[list[int], list[float], int]] = []
    features: dict[int, None] = {}
    for code in codes:
        pairs = list(zip(code.feature_ids.tolist(), code.activations.tolist(), strict=True))
        if relative:
            pairs.sort(key=lambda pair: -share(*pair))
        kept = pairs[:MOST_HERE] + [pair for pair in pairs[MOST_HERE:] if pair[0] == feature]
        features.update(dict.fromkeys(i for i, _ in kept))
        shown.append(([i for i, _ in kept], [float(f"{value:.4g}") for _, value in kept], len(pairs) - len(kept)))
    features.update(dict.fromkeys(row.feature_id for row in everywhere[:MOST_OVERALL]))
    if at is None or not 0 <= at < len(codes):
        at = everywhere[0].position if everywhere else 0
    pictured = list(features)[:MOST_ATOMS] if atoms is not None else []
    tile = {i: [place] for place, i in enumerate(pictured)}
    data = {
        "stage": dict(stage),
        "features": {i: [labels.get(i, ""), strongest.get(i) or 0.0, *tile.get(i, [])] for i in features},
        "atoms": atoms(pictured).payload() if atoms is not None and pictured else None,
        "atom_scale": atom_scale,
        "codes": shown,
        "overall": [
            [row.feature_id, float(f"{row.activation:.4g}"), row.position, row.n_positions]
            for row in everywhere[:MOST_OVERALL]
        ],
        "n_overall": len(everywhere),
        "off": [] if evaluated is None else [i for i, counts in enumerate(evaluated) if not counts],
        "at": at,
        "feature": feature,
        "href": href,
        "full": theme.ACTIVATION_DEPTH[theme.scheme()] if stage["kind"] == "text" else 0.7,
    }
    _mount(key=key, data=data)
