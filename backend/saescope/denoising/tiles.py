"""Pictures of any size through a model of one size: overlapping tiles, blended."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Picture = Float[np.ndarray, "height width channels"]
Tiles = Float[np.ndarray, "tile height width channels"]

OVERLAP = 4
"""Tiles that cover a pixel along each axis, away from the edges."""
TILES_AT_ONCE = 2**22
"""Values of the tiles that are in memory together, at most (or one tile's)."""


def through_tiles(picture: Picture, side: tuple[int, int], rebuild: Callable[[Tiles], Tiles]) -> Picture:
    """What `rebuild` makes of tiles of `side` (height, width) all over the picture, blended with a raised cosine.

    Smaller pictures are continued by their mirror image. A picture of the very size of a tile is one tile.
    """
    height, width, channels = picture.shape
    missing = [max(0, s - n) for s, n in zip(side, (height, width), strict=True)]
    padded = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    rows, columns = (_starts(n, s) for n, s in zip(padded.shape[:2], side, strict=True))
    window = (_window(side[0])[:, None] * _window(side[1]))[..., None]
    total, weight = np.zeros(padded.shape, np.float64), np.zeros((*padded.shape[:2], 1), np.float64)
    places = [(r, c) for r in rows for c in columns]
    step = max(1, TILES_AT_ONCE // (math.prod(side) * channels))
    for start in range(0, len(places), step):
        some = places[start : start + step]
        tiles = np.stack([padded[r : r + side[0], c : c + side[1]] for r, c in some])
        for (r, c), rebuilt in zip(some, rebuild(tiles), strict=True):
            total[r : r + side[0], c : c + side[1]] += window * rebuilt
            weight[r : r + side[0], c : c + side[1]] += window
    return (total / weight)[:height, :width].astype(picture.dtype)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin, the last one at the end of the picture."""
    step = max(1, side // OVERLAP)
    return sorted({*range(0, length - side, step), length - side})


def _window(side: int) -> Float[np.ndarray, " side"]:
    """Weights of a tile's pixels along an axis: nowhere 0, so that edges count too."""
    return np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 + 1e-3
