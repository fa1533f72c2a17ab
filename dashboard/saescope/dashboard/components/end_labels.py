"""Names of a chart's curves at their ends: beside the last points, or in a column of their own where points crowd or a
curve goes on where a name would stand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from saescope.dashboard import charts, theme

GAP = 15.0
"""Least distance of two names, in pixels."""
FAR = 10.0
"""How far a name beside a point may stand from it, in pixels; in a column, lines lead from the points to the names."""
BESIDE = 0.02, 0.14
"""Where a name beside a point begins and ends, right of it, as fractions of the chart's width."""
SAMPLES = 16
"""Places of a curve looked at between two of its points."""

Line = Sequence[tuple[float, float]]
"""The (x, y) of a curve's points, in data units."""


@dataclass(frozen=True)
class End:
    """The last point of a curve, in data units; both axes are logarithmic."""

    title: str
    colour: str
    x: float
    y: float


def end_labels(
    ends: Sequence[End],
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    height: float,
    lines: Sequence[Line] = (),
) -> list[dict[str, Any]]:
    """Annotations for a chart of `lines` with log axes of these limits, which is drawn `height` pixels high."""
    low, high = (math.log10(v) for v in y_limits)
    ends = sorted(ends, key=lambda end: end.y)
    points = [(math.log10(end.y) - low) / (high - low) * height for end in ends]
    places = spread(points, GAP, height)
    crowded = any(abs(place - point) > FAR for place, point in zip(places, points, strict=True))
    crowded = crowded or any(_crosses(line, end, x_limits, y_limits, height) for line in lines for end in ends)
    column = math.log10(x_limits[1]) + 0.01 * math.log10(x_limits[1] / x_limits[0])
    leading: dict[str, Any] = {
        "showarrow": True, "arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": theme.LINE[theme.scheme()],
        "standoff": 6, "borderpad": 2, "axref": "x", "ax": column, "ayref": "y",
    }  # fmt: skip
    notes: list[dict[str, Any]] = []
    for end, point, place in zip(ends, points, places, strict=True):
        note = charts.note(
            escape(end.title), math.log10(end.x), math.log10(end.y), xanchor="left", yanchor="middle",
            font={"size": 11, "color": end.colour},
        )  # fmt: skip
        if crowded:
            note |= leading | {"ay": low + place / height * (high - low)}
        else:
            note |= {"xshift": 9, "yshift": place - point}
        notes.append(note)
    return notes


def spread(points: Sequence[float], gap: float, length: float) -> list[float]:
    """Places for `points` (ascending, within 0 and `length`), in their order and `gap` apart, near them on both sides.

    The mean of pushing overlapping ones up and of pushing them down, which keeps the distances of both; then pushed
    back within 0 and `length` as far as all of them fit there.
    """
    if not points:
        return []
    up = _pushed(points, gap)
    down = [-place for place in reversed(_pushed([-point for point in reversed(points)], gap))]
    places = _pushed([max(0.0, (a + b) / 2) for a, b in zip(up, down, strict=True)], gap)
    over = places[-1] - length
    if over <= 0:
        return places
    back = [min(place, length) for place in places]
    return [-place for place in reversed(_pushed([-place for place in reversed(back)], gap))]


def _crosses(line: Line, end: End, x_limits: tuple[float, float], y_limits: tuple[float, float], height: float) -> bool:
    """Whether a curve runs through where the name of `end` would stand beside its point."""
    x = np.log10([px for px, _ in line]) - math.log10(end.x)
    y = np.log10([py for _, py in line]) - math.log10(end.y)
    x, y = x / math.log10(x_limits[1] / x_limits[0]), y / math.log10(y_limits[1] / y_limits[0]) * height
    places = np.linspace(0, len(x) - 1, SAMPLES * (len(x) - 1) + 1)
    x, y = np.interp(places, np.arange(len(x)), x), np.interp(places, np.arange(len(y)), y)
    return bool(((x > BESIDE[0]) & (x < BESIDE[1]) & (np.abs(y) < GAP / 2)).any())


def _pushed(points: Sequence[float], gap: float) -> list[float]:
    """Each at its point, or `gap` above the one before."""
    return list(itertools.accumulate(points, lambda below, point: max(point, below + gap)))
