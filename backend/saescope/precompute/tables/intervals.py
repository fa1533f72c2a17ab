"""Which intervals of activation a feature's examples are shown in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int8, Int64

from saescope.precompute.one_pass.histogram import HistogramSpec
from saescope.precompute.one_pass.state import FeatureState

N_INTERVALS = 5


@dataclass(frozen=True)
class Intervals:
    """Unions of whole sampling bins, strongest first.

    Each of a feature's strongest non-empty sampling bins is an interval of its own; the last interval takes all that
    is weaker. Interval i is [lower[i], lower[i - 1]); the last lower bound is the firing threshold.
    """

    n: Int64[np.ndarray, " feature"]
    """Intervals of each feature, 0 for a dead one."""
    lower: Float32[np.ndarray, "feature interval"]
    counts: Int64[np.ndarray, "feature interval"]
    """Firings, from the histogram."""
    of_bin: Int8[np.ndarray, "feature sbin"]
    """Interval of each non-empty sampling bin."""


def choose_intervals(state: FeatureState, threshold: float) -> Intervals:
    """Intervals of every feature, from its histogram."""
    spec = state.spec
    counts = sampling_counts(state.sums.histogram, spec)
    occupied = counts > 0
    above = np.cumsum(occupied[:, ::-1], axis=1)[:, ::-1] - 1  # occupied bins above this one, itself if occupied
    of_bin = np.clip(above, 0, N_INTERVALS - 1).astype(np.int8)
    n = np.minimum(occupied.sum(axis=1), N_INTERVALS)
    edges = spec.sampling_edges()
    n_features = len(counts)
    lower = np.zeros((n_features, N_INTERVALS), np.float32)
    total = np.zeros((n_features, N_INTERVALS), np.int64)
    for i in range(N_INTERVALS):
        inside = occupied & (of_bin == i)
        total[:, i] = np.where(inside, counts, 0).sum(axis=1)
        lower[:, i] = edges[np.argmax(inside, axis=1)]  # its lowest bin; meaningless where there is no such interval
    alive = np.flatnonzero(n)
    lower[alive, n[alive] - 1] = threshold
    return Intervals(n, lower, total, of_bin)


def sampling_counts(
    histogram: Int64[np.ndarray, "feature bin"], spec: HistogramSpec
) -> Int64[np.ndarray, "feature sbin"]:
    """Firings in each sampling bin."""
    inner = histogram[:, 1:-1].reshape(len(histogram), -1, spec.bins_per_sample).sum(axis=2)
    return np.concatenate([histogram[:, :1], inner, histogram[:, -1:]], axis=1)
