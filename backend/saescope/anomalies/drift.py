"""Whether scores drift away from those that a detector was fitted on.

Items stand in the order of time, and a window of `window` of them moves along. Its median score is held against medians
of as many scores drawn from the normal training items: it is above their 99.9th percentile in one window of a thousand
by chance. The rule: refit when that has been so for `window` windows in a row, so that no item is in the first and the
last of them. The median is unmoved by anomalies as long as they are fewer than half of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.lib.stride_tricks import sliding_window_view

RULE = "refit when the window's median has been above the limit for as many windows in a row as a window has items"
CHANCE = 0.999
"""The limit's percentile among windows of normal training items."""
N_DRAWN = 2000
N_POINTS = 1000
"""Windows that are kept at most."""


@dataclass(frozen=True)
class Drift:
    """Windows by the index of their last item."""

    window: int
    ends: np.ndarray
    mean: Float64[np.ndarray, " window"]
    median: Float64[np.ndarray, " window"]
    upper: Float64[np.ndarray, " window"]
    """95th percentile."""
    limit: float
    """That the median is held against."""
    refit_from: int | None
    """Index of the item with which the rule first says to refit; None: it does not."""


def drift(
    scores: Float64[np.ndarray, " item"], normal: Float64[np.ndarray, " fitted"], window: int, seed: int
) -> Drift | None:
    """Of scores in the order of time; None where there are fewer than a window's."""
    if len(scores) < window:
        return None
    random = np.random.default_rng(seed)
    drawn = np.concatenate([np.median(random.choice(normal, (50, window)), axis=1) for _ in range(N_DRAWN // 50)])
    limit = float(np.quantile(drawn, CHANCE))
    medians = np.concatenate(
        [
            np.median(sliding_window_view(scores[start : start + 4096 + window - 1], window), axis=1)
            for start in range(0, len(scores) - window + 1, 4096)
        ]
    )
    kept = np.unique(np.round(np.linspace(0, len(medians) - 1, N_POINTS)).astype(np.int64))
    views = [scores[i : i + window] for i in kept]
    return Drift(
        window,
        kept + window - 1,
        np.array([view.mean() for view in views]),
        medians[kept],
        np.array([np.quantile(view, 0.95) for view in views]),
        limit,
        _first_run(medians > limit, window, window - 1),
    )


def _first_run(above: np.ndarray, length: int, offset: int) -> int | None:
    """Index, plus `offset`, at which a run of `length` True is complete for the first time."""
    before = np.concatenate([[0], np.cumsum(above)])
    if len(above) < length:
        return None
    runs = np.flatnonzero(before[length:] - before[:-length] == length)
    return int(runs[0]) + length - 1 + offset if len(runs) else None
