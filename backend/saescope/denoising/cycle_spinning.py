"""Cycle spinning: a denoiser applied to shifted pictures, shifted back and averaged (Coifman & Donoho 1995,
"Translation-Invariant De-Noising")."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from saescope.denoising.quality import Pictures

SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
"""Rows and columns, in pixels."""


def cycle_spun(pictures: Pictures, rebuild: Callable[[Pictures], Pictures]) -> Pictures:
    """The mean of what `rebuild` makes of pictures [picture, height, width, channels] and of their shifts by one pixel.

    What moves in at an edge is the mirror image; a pixel that moves out is left out of the mean.
    """
    height, width = pictures.shape[1:3]
    continued = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    total, times = np.zeros(pictures.shape, np.float64), np.zeros((height, width, 1))
    for down, right in SHIFTS:
        found = rebuild(np.ascontiguousarray(continued[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]))
        (into_rows, of_rows), (into_columns, of_columns) = _overlap(height, down), _overlap(width, right)
        total[:, into_rows, into_columns] += found[:, of_rows, of_columns]
        times[into_rows, into_columns] += 1
    return (total / times).astype(pictures.dtype)


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Where an axis and the same one from `shift` on have pixels in common: of the first, and of the second."""
    inside = length - abs(shift)
    first, second = max(shift, 0), max(-shift, 0)
    return slice(first, first + inside), slice(second, second + inside)
