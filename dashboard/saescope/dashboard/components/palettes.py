"""Colours of pictures: one sequential, one diverging and one grey palette of 255 steps, as RGBA.

The diverging and the sequential palette fade to *transparent* at zero instead of to white: zero then shows the page
itself, so that one picture reads well on a light and on a dark page. Step `ZERO` of a signed palette is exactly zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from saescope.dashboard import theme

SignedPalette = Literal["diverging", "grey"]
Table = npt.NDArray[np.uint8]

STEPS = 255
ZERO = 127


def rgb(colour: str) -> tuple[int, int, int]:
    """'#rrggbb' as three bytes."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _signed_steps() -> npt.NDArray[np.float64]:
    """Value of each step in -1 ... 1; shape [STEPS]."""
    return (np.arange(STEPS) - ZERO) / ZERO


def diverging(scheme: theme.Scheme = "light") -> Table:
    """Blue through transparent to red, in the hues of `theme.DIVERGING`; uint8 [STEPS, 4]."""
    negative, _, positive = theme.DIVERGING[scheme]
    value = _signed_steps()
    table = np.zeros((STEPS, 4), dtype=np.uint8)
    table[value < 0, :3] = rgb(negative)
    table[value > 0, :3] = rgb(positive)
    table[:, 3] = np.round(255 * np.abs(value))
    return table


def grey() -> Table:
    """Black (negative) through mid-grey (zero) to white (positive), opaque; uint8 [STEPS, 4]."""
    level = np.round(127.5 * (1 + _signed_steps())).astype(np.uint8)
    return np.stack([level, level, level, np.full(STEPS, 255, dtype=np.uint8)], axis=1)


def signed(palette: SignedPalette, scheme: theme.Scheme = "light") -> Table:
    return diverging(scheme) if palette == "diverging" else grey()


def sequential(strongest_alpha: float = 0.55) -> Table:
    """Transparent (zero) to saturated orange; uint8 [STEPS, 4]. A picture below stays visible at full strength."""
    table = np.zeros((STEPS, 4), dtype=np.uint8)
    table[:, :3] = rgb(theme.ACTIVATION)
    table[:, 3] = np.round(255 * strongest_alpha * np.arange(STEPS) / (STEPS - 1))
    return table
