"""The constants that definitions of a store's columns have in them: what is dense, dead, and worth a label."""

from __future__ import annotations

import math

DENSE_DENSITY = 0.1
"""A feature with a larger density is called dense."""
DENSE_CODE = 0.5
"""A code of which this share or more fires on average is dense as a whole: nothing makes it sparse, and dense features
are no fault of it."""

DEAD_BOUND_LEVEL = 0.95
"""How sure the bound on the density of a dead feature is, one-sided."""
DEAD_BOUND_FORMULA = f"1 - {1 - DEAD_BOUND_LEVEL:.2g}^(1/N)"

LABEL_MIN_FIRINGS = 20
"""A feature with fewer firings gets no automatic label."""
LABEL_MIN_ITEMS = 20
"""A label needs the feature to fire in as many items that it describes."""
LABEL_MIN_LIFT = 2.0
"""A label's precision is at least this many times its base rate."""


def dead_bound(n_positions: int) -> float:
    """One-sided upper bound, at `DEAD_BOUND_LEVEL`, on the density of a feature that fired at none of N independent
    positions: `DEAD_BOUND_FORMULA`, about 3/N (the exact binomial bound of Clopper and Pearson 1934)."""
    return 1.0 if n_positions < 1 else -math.expm1(math.log1p(-DEAD_BOUND_LEVEL) / n_positions)
