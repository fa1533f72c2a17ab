"""Features as points of two statistics, or as cells where they are many; a click opens, a brush narrows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from saescope.dashboard import charts, theme
from saescope.dashboard.components.feature_table import STATISTICS, name
from saescope.store.numbers import count, density, significant
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store.read.queries import Scatter

LOG = frozenset({"density", "n_firing", "std_activation"})
LOG_UNLESS_SIGNED = frozenset({"max_activation", "mean_activation"})
"""Statistics that span decades and go on a log axis; the latter only where codes are never negative."""


def log_axis(column: str, signed: bool) -> bool:
    """Whether a statistic is drawn on a log axis; `signed` codes can fire below zero."""
    return column in LOG or (column in LOG_UNLESS_SIGNED and not signed)


@dataclass(frozen=True)
class Box:
    """A brushed region, in units of the two statistics."""

    x: tuple[float, float]
    y: tuple[float, float]

    @staticmethod
    def parse(text: str) -> Box | None:
        """'x0,x1,y0,y1' of an address; None where it is none."""
        try:
            x0, x1, y0, y1 = (float(part) for part in text.split(","))
        except ValueError:
            return None
        if not np.isfinite([x0, x1, y0, y1]).all():
            return None
        return Box((min(x0, x1), max(x0, x1)), (min(y0, y1), max(y0, y1)))

    def text(self) -> str:
        """The same for an address."""
        return ",".join(f"{v:.4g}" for v in (*self.x, *self.y))

    def query(self, x: str, y: str) -> str:
        """The region as comparisons of the store's query language."""
        parts = [(x, self.x), (y, self.y)]
        return " and ".join(f"{column} >= {low:.10g} and {column} <= {high:.10g}" for column, (low, high) in parts)

    def words(self, x: str, y: str) -> str:
        """The region for people."""
        parts = [(x, self.x), (y, self.y)]
        return ", ".join(f"{STATISTICS[c][0]} {significant(low)} to {significant(high)}" for c, (low, high) in parts)


def _axis(column: str, values: np.ndarray, log: bool) -> charts.Axis:
    title, _ = STATISTICS[column]
    percent = column == "density"
    low, high = float(values.min()), float(values.max())
    if log:
        pad = (high / low) ** 0.04 if high > low else 1.5
        most = max(high, 1.1) if percent else high * pad  # no share is above 1
        return charts.Axis(f"{title}, log scale", log=True, range=(low / pad, min(high * pad, most)), percent=percent)
    pad = (high - low) * 0.04 or 1.0
    return charts.Axis(title, range=(low - pad, high + pad), percent=percent)


def _write(column: str, number: float) -> str:
    if column == "density":
        return density(number)
    return count(int(number)) if column in ("n_firing", "feature_id") else significant(number)


def figure(
    scatter: Scatter,
    x: str,
    y: str,
    log: tuple[bool, bool],
    *,
    height: int,
    tokens: Mapping[int, str] | None = None,
) -> charts.Figure:
    """Points carry their number as customdata, cells their bounds (x low, x high, y low, y high).

    `tokens` names the top token of features of texts, for the points' tips.
    """
    if scatter.points is not None:
        trace, xs, ys = _points(scatter, x, y, tokens or {})
    else:
        trace, xs, ys = _cells(scatter, x, y)
    return charts.figure([trace], _axis(x, xs, log[0]), _axis(y, ys, log[1]), height=height, drag="select")


def _points(scatter: Scatter, x: str, y: str, tokens: Mapping[int, str]) -> tuple[charts.Trace, np.ndarray, np.ndarray]:
    """One mark per feature, dense ones in their colour."""
    assert scatter.points is not None
    scheme = theme.scheme()
    rows = scatter.points.to_pylist()
    titles = STATISTICS[x][0], STATISTICS[y][0]
    few = len(rows) <= 2000
    trace: charts.Trace = {
        "type": "scattergl",
        "mode": "markers",
        "x": [row["x"] for row in rows],
        "y": [row["y"] for row in rows],
        "customdata": [[row["feature_id"]] for row in rows],
        "hovertext": [
            f"<b>{name(row['feature_id'])}</b> {escape(visible(row['label'] or ''))}<br>"
            + _top_token(tokens.get(row["feature_id"]))
            + f"{titles[0]} {_write(x, row['x'])}<br>{titles[1]} {_write(y, row['y'])}"
            for row in rows
        ],
        "hoverinfo": "text",
        "marker": {
            "size": 6 if few else 4,
            "opacity": 0.75 if few else 0.5,
            "color": [theme.DENSE[scheme] if row["is_dense"] else theme.ACCENT[scheme] for row in rows],
            "line": {"width": 0},
        },
    }
    return trace, scatter.points["x"].to_numpy(), scatter.points["y"].to_numpy()


def _top_token(token: str | None) -> str:
    return "" if token is None else f"top token {escape(visible(token, edges=True))}<br>"


def _cells(scatter: Scatter, x: str, y: str) -> tuple[charts.Trace, np.ndarray, np.ndarray]:
    """One square per cell, the darker the more features lie in it (on a log scale)."""
    assert scatter.cells is not None
    c = {column: scatter.cells[column].to_numpy() for column in scatter.cells.column_names}
    middle = {}
    for axis in "xy":
        low, high = c[f"{axis}_low"], c[f"{axis}_high"]
        middle[axis] = np.sqrt(low * high) if (low > 0).all() else (low + high) / 2
    bounds = np.stack([c["x_low"], c["x_high"], c["y_low"], c["y_high"]], axis=1)
    depth = np.log1p(c["n_features"])
    trace: charts.Trace = {
        "type": "scattergl",
        "mode": "markers",
        "x": middle["x"].tolist(),
        "y": middle["y"].tolist(),
        "customdata": bounds.tolist(),
        "hovertext": [
            f"<b>{count(int(n))} features</b><br>{STATISTICS[x][0]} {_write(x, a)} to {_write(x, b)}<br>"
            f"{STATISTICS[y][0]} {_write(y, d)} to {_write(y, e)}"
            for n, (a, b, d, e) in zip(c["n_features"], bounds, strict=True)
        ],
        "hoverinfo": "text",
        "marker": {
            "symbol": "square",
            "size": 5,
            "color": theme.ACCENT[theme.scheme()],
            "opacity": (0.2 + 0.8 * depth / depth.max()).tolist(),
            "line": {"width": 0},
        },
    }
    return trace, np.concatenate([c["x_low"], c["x_high"]]), np.concatenate([c["y_low"], c["y_high"]])
