"""The chart of sparsity against reconstruction: curves, the Pareto front, baselines. Numbers in, a figure out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from saescope.dashboard import charts, theme
from saescope.dashboard.formats import count, percent
from saescope.dashboard.metrics import METRICS, Metric, value

HEIGHT = 440
MAX_PICKED = 6
_HOVER = (
    "l0", "fraction_active", "fvu", "fvu_transformed", "mse", "cosine", "l1", "ce_recovered", "kl", "n_dead", "n_dense"
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One SAE at (x, y), both positive."""

    sae_id: str
    x: float
    y: float
    n_features: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Curve:
    """SAEs that differ in sparsity, in order of x; one architecture, hence one colour and one marker."""

    title: str
    architecture: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Reference:
    """A baseline's curve, e.g. PCA at a number of components, as (x, y, components)."""

    title: str
    points: Sequence[tuple[float, float, int]]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both x and y (smaller is better in both), from small x to large."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return front


def _hover(point: Point, curve: Curve) -> str:
    lines = [f"<b>{escape(point.sae_id)}</b>", f"{escape(curve.architecture)}, {count(point.n_features)} features"]
    for name in _HOVER:
        number = value(point.metrics, name)
        if number is None:
            continue
        share = f" ({percent(number / point.n_features)})" if name in ("n_dead", "n_dense") else ""
        lines.append(f"{METRICS[name].short}: {METRICS[name].write(number)}{share}")
    return "<br>".join(lines)


def _limits(values: Sequence[float], below: float, above: float) -> tuple[float, float]:
    """Range of a log axis with margins as fractions of its length."""
    low, high = math.log10(min(values)), math.log10(max(values))
    length = max(high - low, 0.3)
    return 10 ** (low - below * length), 10 ** (high + above * length)


def _near(references: Sequence[Reference], points: Sequence[Point]) -> list[Reference]:
    """Baselines cut to the neighbourhood of the SAEs: a perfect reconstruction far below would flatten all else."""
    lowest, widest = min(p.y for p in points) / 3, max(p.x for p in points) * 3
    cut = [Reference(r.title, [p for p in r.points if p[1] >= lowest and p[0] <= widest]) for r in references]
    return [r for r in cut if r.points]


def _end_labels(ends: Sequence[tuple[str, str, float, float]], y_limits: tuple[float, float]) -> list[dict[str, Any]]:
    """A name beside the last point of each curve (title, colour, x, y), moved apart where they would overlap."""
    low, high = (math.log10(v) for v in y_limits)
    drawn = HEIGHT - 70
    gap = 15.0
    placed = sorted(((math.log10(y) - low) / (high - low) * drawn, title, colour, x, y) for title, colour, x, y in ends)
    notes, floor = [], -math.inf
    for pixel, title, colour, x, y in placed:
        at = max(pixel, floor)
        floor = at + gap
        notes.append(
            charts.note(
                escape(title), math.log10(x), math.log10(y), xanchor="left", yanchor="middle", xshift=9,
                yshift=at - pixel, font={"size": 11, "color": colour},
            )
        )  # fmt: skip
    return notes


def figure(
    curves: Sequence[Curve],
    references: Sequence[Reference],
    x: Metric,
    y: Metric,
    picked: Collection[str] = (),
) -> charts.Figure:
    """The chart. Each point carries its `sae_id` as customdata; baselines carry none."""
    scheme = theme.scheme()
    points = [point for curve in curves for point in curve.points]
    references = _near(references, points)
    every_x = [p.x for p in points] + [px for r in references for px, _, _ in r.points]
    every_y = [p.y for p in points] + [py for r in references for _, py, _ in r.points]
    x_limits, y_limits = _limits(every_x, 0.05, 0.05), _limits(every_y, 0.08, 0.08)
    traces: list[charts.Trace] = []
    ends: list[tuple[str, str, float, float]] = []
    front = pareto_front(points)
    if len(front) > 1:
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": "Pareto front", "hoverinfo": "skip",
                "x": [p.x for p in front], "y": [p.y for p in front], "showlegend": True,
                "line": {"color": theme.LINE[scheme], "width": 11, "shape": "linear"},
            }
        )  # fmt: skip
    for reference in references:
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": reference.title, "showlegend": False,
                "x": [p[0] for p in reference.points], "y": [p[1] for p in reference.points],
                "line": {"color": theme.MUTED[scheme], "width": 1.2, "dash": "dash"},
                "marker": {"size": 4, "color": theme.MUTED[scheme]},
                "hovertext": [
                    f"<b>{escape(reference.title)}</b><br>{count(n)} components<br>{y.short}: {y.write(error)}"
                    for _, error, n in reference.points
                ],
                "hoverinfo": "text",
            }
        )  # fmt: skip
        last = max(reference.points)
        ends.append((reference.title, theme.MUTED[scheme], last[0], last[1]))
    for curve in curves:
        colour = theme.family_colour(curve.architecture)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": curve.title, "showlegend": False,
                "x": [p.x for p in curve.points], "y": [p.y for p in curve.points],
                "customdata": [[p.sae_id] for p in curve.points],
                "line": {"color": colour, "width": 1.6},
                "marker": {
                    "symbol": theme.family_symbol(curve.architecture), "color": colour, "opacity": 1,
                    "size": [14 if p.sae_id in picked else 9 for p in curve.points],
                    "line": {
                        "width": [2.2 if p.sae_id in picked else 0 for p in curve.points],
                        "color": theme.INK[scheme],
                    },
                },
                "unselected": {"marker": {"opacity": 1}},
                "hovertext": [_hover(p, curve) for p in curve.points], "hoverinfo": "text",
            }
        )  # fmt: skip
        ends.append((curve.title, colour, curve.points[-1].x, curve.points[-1].y))
    return charts.figure(
        traces,
        charts.Axis(f"{x.title}, log scale", log=True, range=x_limits, percent=x.name == "fraction_active"),
        charts.Axis(f"{y.title}, log scale", log=True, range=y_limits),
        height=HEIGHT,
        legend=len(front) > 1,
        annotations=_end_labels(ends, y_limits),
        margin={"l": 8, "r": 16 + min(150, 6.5 * max(len(title) for title, *_ in ends)), "t": 12, "b": 8, "pad": 0},
    )
