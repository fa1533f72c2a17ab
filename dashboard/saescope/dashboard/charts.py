"""Plotly figures as plain dicts: no figure objects to build, one place for axes, grids, fonts and colours.

A trace is a dict as Plotly's reference describes it. `figure` lays traces out; `show` draws the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from saescope.dashboard import theme
from saescope.store.numbers import percent, short_count

Trace = dict[str, Any]
Figure = dict[str, Any]

CONFIG: dict[str, Any] = {"displaylogo": False, "displayModeBar": False, "scrollZoom": False}


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis: decades where it spans more than two and a half of them, else 1, 2, 5 of each."""
    decades: Sequence[int] = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    span = math.log10(high / low)
    if span > 6:
        step = math.ceil(span / 6)
        return [10.0**d for d in decades if d % step == 0 and low <= 10.0**d <= high]
    if span < 0.7:
        length = nice_step((high - low) / 5)
        return [k * length for k in range(math.ceil(low / length), math.floor(high / length) + 1)]
    parts: tuple[int, ...] = (1,) if span > 2.5 else (1, 2, 5)
    return [m * 10.0**d for d in decades for m in parts if low <= m * 10.0**d <= high]


def nice_step(length: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is `length` or more."""
    power = 10.0 ** math.floor(math.log10(length))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= length * (1 - 1e-9))


def tick(value: float) -> str:
    """A tick's text: 0.02, 5, 200, 10 k, 1e-6."""
    if 1e-4 <= abs(value) < 1e4:
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    return short_count(value) if value >= 1e4 else f"{value:.0e}".replace("e-0", "e-")


@dataclass(frozen=True)
class Axis:
    """`title` names the quantity and its unit. `range` is in data units, on log axes too."""

    title: str
    log: bool = False
    range: tuple[float, float] | None = None
    percent: bool = False

    def layout(self) -> dict[str, Any]:

        scheme = theme.scheme()
        axis: dict[str, Any] = {
            "title": {"text": self.title, "standoff": 8, "font": {"size": 12, "color": theme.MUTED[scheme]}},
            "type": "log" if self.log else "linear",
            "showgrid": True,
            "gridcolor": theme.LINE[scheme],
            "griddash": "dot",
            "zeroline": False,
            "showline": True,
            "linecolor": theme.LINE[scheme],
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": theme.LINE[scheme],
            "tickfont": {"size": 11, "color": theme.MUTED[scheme]},
            "automargin": True,
        }
        axis["tickformat"] = ",~r" if not self.log else ""
        if self.percent:
            axis["tickformat"] = "~p"
        if self.range:
            axis["range"] = [math.log10(v) for v in self.range] if self.log else list(self.range)
        if self.log and self.range:
            ticks = log_ticks(*self.range)
            write = (lambda v: percent(v)) if self.percent else (lambda v: tick(v))
            axis |= {"tickmode": "array", "tickvals": ticks, "ticktext": [write(v) for v in ticks]}
        return axis


def figure(
    traces: Sequence[Trace],
    x: Axis,
    y: Axis,
    *,
    height: int = 360,
    legend: bool = False,
    shapes: Sequence[dict[str, Any]] = (),
    annotations: Sequence[dict[str, Any]] = (),
    drag: Literal["select", "lasso", "zoom", "pan", False] = "zoom",
    **layout: Any,
) -> Figure:
    """Traces with axes in the reader's scheme; `legend` only where there are two things to tell apart."""
    scheme = theme.scheme()
    return {
        "data": list(traces),
        "layout": {
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8, "pad": 0},
            "xaxis": x.layout(),
            "yaxis": y.layout(),
            "showlegend": legend,
            "legend": {
                "orientation": "h",
                "yanchor": "bottom",
                "y": 1.0,
                "xanchor": "left",
                "x": 0,
                "title": {"text": ""},
            },
            "shapes": list(shapes),
            "annotations": list(annotations),
            "dragmode": drag,
            "hovermode": "closest",
            "hoverlabel": {"align": "left", "font": {"size": 12}},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 12, "color": theme.INK[scheme]},
            "uirevision": "keep",
            **layout,
        },
    }


def show(
    chart: Figure,
    key: str,
    *,
    alt: str,
    select: bool = False,
    modes: Sequence[Literal["points", "box", "lasso"]] = ("points",),
) -> dict[str, Any]:
    """Draw `chart`; with `select`, rerun on a click or brush and return the points picked (else an empty dict).

    `alt` describes the chart for people who cannot see it.
    """
    if not select:
        st.plotly_chart(chart, key=key, config=CONFIG, alt=alt)
        return {}
    state = st.plotly_chart(chart, key=key, config=CONFIG, alt=alt, on_select="rerun", selection_mode=list(modes))
    return dict(state["selection"]) if state else {}


def vertical_line(x: float, colour: str, dash: str = "dot") -> dict[str, Any]:
    """A line across the whole height at `x` (data units; also right on a log axis)."""
    return {
        "type": "line", "xref": "x", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
        "line": {"color": colour, "width": 1, "dash": dash},
    }  # fmt: skip


def note(text: str, x: float, y: float, **options: Any) -> dict[str, Any]:
    """A text without an arrow at (x, y)."""
    return {"text": text, "x": x, "y": y, "showarrow": False, "font": {"size": 11}, **options}
