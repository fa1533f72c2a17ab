"""The chart of sparsity against reconstruction: curves, the Pareto front, baselines. Numbers in, a figure out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from saescope.dashboard import charts, theme
from saescope.dashboard.components.end_labels import End, end_labels
from saescope.dashboard.metrics import METRICS, Metric, value
from saescope.store.numbers import count, percent

HEIGHT = 440
AROUND = 70
"""Pixels of the height that its legend, its ticks and the title below take."""
MAX_PICKED = 6
DASHES = ("solid", "dot", "dashdot", "longdash")
"""Lines of the first, second, ... curve of one architecture; every other one has open markers as well."""
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
    """SAEs that differ in sparsity, in order of x; one architecture, hence one colour and one shape of marker."""

    title: str
    architecture: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Reference:
    """A baseline's curve, e.g. PCA at a number of components."""

    title: str
    architecture: str
    """Whose colour and marker it has."""
    points: Sequence[tuple[float, float, str]]
    """x, y, and what a reader is told there, a line."""


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
    cut = [
        Reference(r.title, r.architecture, [p for p in r.points if p[1] >= lowest and p[0] <= widest])
        for r in references
    ]
    return [r for r in cut if r.points]


def _front_trace(front: Sequence[Point]) -> charts.Trace:
    return {
        "type": "scatter", "mode": "lines", "name": "Pareto front", "hoverinfo": "skip",
        "x": [p.x for p in front], "y": [p.y for p in front], "showlegend": True,
        "line": {"color": theme.LINE[theme.scheme()], "width": 11, "shape": "linear"},
    }  # fmt: skip


def _reference_trace(reference: Reference, y: Metric) -> charts.Trace:
    colour, symbol = theme.family_colour(reference.architecture), theme.family_symbol(reference.architecture)
    return {
        "type": "scatter", "mode": "lines+markers", "name": reference.title, "showlegend": False,
        "x": [p[0] for p in reference.points], "y": [p[1] for p in reference.points],
        "line": {"color": colour, "width": 1.2, "dash": "dash"},
        "marker": {"size": 5, "color": colour, "symbol": symbol},
        "hovertext": [
            f"<b>{escape(reference.title)}</b><br>{text}<br>{y.short}: {y.write(error)}"
            for _, error, text in reference.points
        ],
        "hoverinfo": "text",
    }  # fmt: skip


def _curve_trace(curve: Curve, nth: int, picked: Collection[str]) -> charts.Trace:
    """`nth` curve of its architecture, from 0."""
    colour, symbol = theme.family_colour(curve.architecture), theme.family_symbol(curve.architecture)
    ink = theme.INK[theme.scheme()]
    return {
        "type": "scatter", "mode": "lines+markers", "name": curve.title, "showlegend": False,
        "x": [p.x for p in curve.points], "y": [p.y for p in curve.points],
        "customdata": [[p.sae_id] for p in curve.points],
        "line": {"color": colour, "width": 1.6, "dash": DASHES[nth % len(DASHES)]},
        "marker": {
            "symbol": f"{symbol}-open" if nth % 2 else symbol, "color": colour, "opacity": 1,
            "size": [14 if p.sae_id in picked else 9 for p in curve.points],
            "line": {
                "width": [2.2 if p.sae_id in picked else 1.6 * (nth % 2) for p in curve.points],
                "color": [ink if p.sae_id in picked else colour for p in curve.points],
            },
        },
        "unselected": {"marker": {"opacity": 1}},
        "hovertext": [_hover(p, curve) for p in curve.points], "hoverinfo": "text",
    }  # fmt: skip


def figure(
    curves: Sequence[Curve],
    references: Sequence[Reference],
    x: Metric,
    y: Metric,
    picked: Collection[str] = (),
    height: int = HEIGHT,
) -> charts.Figure:
    """The chart. Each point carries its `sae_id` as customdata; baselines carry none."""
    points = [point for curve in curves for point in curve.points]
    references = _near(references, points)
    lines = [[(p.x, p.y) for p in curve.points] for curve in curves]
    lines += [[(px, py) for px, py, _ in reference.points] for reference in references]
    x_limits = _limits([px for line in lines for px, _ in line], 0.05, 0.05)
    y_limits = _limits([py for line in lines for _, py in line], 0.08, 0.08)
    drawn, front = Counter[str](), pareto_front(points)
    traces = [_front_trace(front)] if len(front) > 1 else []
    traces += [_reference_trace(reference, y) for reference in references]
    ends = [End(r.title, theme.family_colour(r.architecture), *max(r.points)[:2]) for r in references]
    for curve in curves:
        traces.append(_curve_trace(curve, drawn[curve.architecture], picked))
        drawn[curve.architecture] += 1
        ends.append(End(curve.title, theme.family_colour(curve.architecture), curve.points[-1].x, curve.points[-1].y))
    return charts.figure(
        traces,
        charts.Axis(f"{x.title}, log scale", log=True, range=x_limits, percent=x.name == "fraction_active"),
        charts.Axis(f"{y.title}, log scale", log=True, range=y_limits),
        height=height,
        legend=len(front) > 1,
        annotations=end_labels(ends, x_limits, y_limits, height - AROUND, lines),
        margin={"l": 8, "r": 20 + min(150, 6.5 * max(len(end.title) for end in ends)), "t": 12, "b": 8, "pad": 0},
    )
