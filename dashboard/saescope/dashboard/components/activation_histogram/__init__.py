"""Histogram of one feature's activations: log-spaced bins, log counts, borders of the activation intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components import assets
from saescope.dashboard.components.picture_tiles import opened_value

_mount = st.components.v2.component(
    "saescope_activation_histogram",
    html='<div class="root"><div class="plot"></div></div>',
    css=assets.text_of("browser/tooltips.css", "activation_histogram/activation_histogram.css").replace(
        "ACTIVATION", theme.ACTIVATION
    ),
    js=assets.text_of("browser/tooltips.js", "activation_histogram/activation_histogram.js"),
)


@dataclass(frozen=True)
class Bars:
    """Bins from the first to the last that holds anything: bin i holds lower[i] <= |activation| < upper[i]."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    counts: tuple[int, ...]


def bars(counts: Sequence[int], edges: Sequence[float]) -> Bars:
    """The occupied run of bins of a feature's `hist_counts`; `edges` as in the manifest.

    The underflow bin (lower edge 0) and the overflow bin (upper edge: the largest float32) are given the width of
    their neighbour, since on a log axis they would reach without end.
    """
    occupied = [i for i, count in enumerate(counts) if count]
    if not occupied:
        return Bars((), (), ())
    first, last = occupied[0], occupied[-1]
    lower, upper = [float(e) for e in edges[:-1]], [float(e) for e in edges[1:]]
    if len(counts) > 2:
        if lower[0] <= 0:
            lower[0] = upper[0] * upper[0] / upper[1]
        ratio = upper[-2] / lower[-2] if lower[-2] > 0 else 2.0
        upper[-1] = lower[-1] * ratio
    return Bars(
        tuple(lower[first : last + 1]), tuple(upper[first : last + 1]), tuple(int(c) for c in counts[first : last + 1])
    )


def interval_names(
    interval_lower: Sequence[float], strongest: float | None, number: Callable[[float], str]
) -> list[str]:
    """What each interval spans, strongest first: '8.21–4', '4–2', ..., '< 0.5' for the last where it reaches to 0."""
    if not interval_lower:
        return []
    uppers = [abs(strongest) if strongest is not None else interval_lower[0], *interval_lower]
    names = [f"{number(high)}–{number(low)}" for high, low in pairwise(uppers)]
    if interval_lower[-1] <= 0 and len(interval_lower) > 1:
        names[-1] = f"< {number(interval_lower[-2])}"
    return names


def activation_histogram(
    shown: Bars,
    *,
    key: str,
    borders: Sequence[float] = (),
    names: Sequence[str] = (),
    chosen: int | None = None,
    axis: str = "activation",
    empty: str = "never fired",
    height: int = 130,
    on_open: Callable[[int], None] | None = None,
) -> None:
    """Draw `shown`, `height` px high; a click calls `on_open` with the interval, before the run that it starts.

    `borders` are the lower bounds of the intervals, strongest first; `names` say what each spans; `chosen` is the one
    whose examples are on the page.
    """
    intervals = list(range(len(borders)))

    def clicked() -> None:
        value = opened_value(st.session_state.get(key), intervals)
        if value is not None and on_open is not None:
            on_open(value)

    total = sum(shown.counts)
    data = {
        "lower": shown.lower,
        "upper": shown.upper,
        "counts": shown.counts,
        "borders": [float(b) for b in borders],
        "interval_names": list(names),
        "chosen": chosen,
        "axis": axis,
        "empty": empty,
        "height": height,
        "label": f"Histogram of {axis} over {total:,} firings" if total else empty,
    }
    _mount(key=key, data=data, height=height, on_open_change=clicked)
