"""A sweep's curve at thumbnail size: FVU over L0, both logarithmic, one line per architecture, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

from saescope.dashboard import theme
from saescope.store.numbers import significant

Point = tuple[float, float]
_WIDTH, _HEIGHT = 264, 118
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 8, 26


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    return (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)


def svg(curves: Mapping[str, Sequence[Point]], x_title: str, y_title: str) -> str | None:
    """The drawing, or None where no curve has a positive point. Each curve takes its architecture's colour."""
    positive = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in curves.items()}
    points = [point for curve in positive.values() for point in curve]
    if not points:
        return None
    scheme = theme.scheme()
    (x0, x1), (y0, y1) = _span([x for x, _ in points]), _span([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (math.log10(x) - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y1 - math.log10(y)) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    muted, rule, bottom, right = theme.MUTED[scheme], theme.LINE[scheme], _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    label = f'font-size="10" fill="{muted}"'
    parts = [
        f'<path d="M{_LEFT - 4} {_TOP} V{bottom + 4} H{right}" fill="none" stroke="{rule}"/>',
        f'<text x="{_LEFT - 7}" y="{_TOP + 8}" text-anchor="end" {label}>{significant(10**y1, 2)}</text>',
        f'<text x="{_LEFT - 7}" y="{bottom + 3}" text-anchor="end" {label}>{significant(10**y0, 2)}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}" {label}>{significant(10**x0, 2)}</text>',
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end" {label}>{significant(10**x1, 2)}</text>',
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle" {label}>{escape(x_title)}</text>',
        f'<text x="8" y="{(_TOP + bottom) / 2 + 3}" {label}>{escape(y_title)}</text>',
    ]
    for name, curve in positive.items():
        colour = theme.family_colour(name)
        placed = [place(x, y) for x, y in sorted(curve)]
        line = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>' for x, y in placed]
    title = escape(f"{y_title} over {x_title}, both on log scales: {', '.join(positive)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    )


def sparkline(curves: Mapping[str, Sequence[Point]], x_title: str = "L0", y_title: str = "FVU") -> None:
    """Draw the curves, or nothing where there is nothing to draw."""
    drawing = svg(curves, x_title, y_title)
    if drawing:
        st.image(drawing)
