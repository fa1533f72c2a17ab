"""How many features are of no use: dead, or firing nearly everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from saescope.metrics.registry import Over, define
from saescope.store.format.thresholds import DENSE_DENSITY

_METRICS: dict[str, Callable[[Int64[np.ndarray, " feature"], int], float]] = define(
    Over.ALL_POSITIONS,
    {
        "n_dead": ("features that fire at none of the positions", lambda n_firing, _: float((n_firing == 0).sum())),
        "dead_fraction": ("n_dead / n_features", lambda n_firing, _: float((n_firing == 0).mean())),
        "n_dense": (
            f"features with density > {DENSE_DENSITY}",
            lambda n_firing, n_positions: float((n_firing > DENSE_DENSITY * n_positions).sum()),
        ),
    },
)


def feature_counts(n_firing: Int64[np.ndarray, " feature"], n_positions: int) -> dict[str, float | None]:
    """The metrics of features that fired `n_firing` times at `n_positions` positions."""
    return {name: value(n_firing, n_positions) for name, value in _METRICS.items()}
