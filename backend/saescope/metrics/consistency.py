"""How often a feature fires in the items in which it fires at all: once, or at many of their positions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from saescope.autoencoders.code_rows import CodeRows
from saescope.metrics.registry import Over, register

register(
    Over.ALL_POSITIONS,
    {
        "consistent_activation": "mean over features that fire of firing positions / items in which they fire, over "
        "all positions; for items of several positions"
    },
)


class FiringItems:
    """Counts, while a pass goes by in the source's order, in how many items each feature fires, and how often."""

    def __init__(self, n_features: int) -> None:
        self._n_items = np.zeros(n_features, np.int64)
        self._n_firing = np.zeros(n_features, np.int64)
        self._last_item, self._fired_there = -1, np.empty(0, np.int64)

    def add(self, codes: CodeRows, items: Int64[np.ndarray, " row"]) -> None:
        """Add a block whose rows belong to `items`, ascending."""
        if not len(codes.features):
            return
        n_features = len(self._n_items)
        of_each = np.repeat(items, np.diff(codes.row_ptr))
        pairs = np.unique(of_each * n_features + codes.features)
        item, feature = np.divmod(pairs, n_features)
        # an item that the last block began counted its features there
        known = (item == self._last_item) & np.isin(feature, self._fired_there)
        self._n_items += np.bincount(feature[~known], minlength=n_features)
        self._n_firing += np.bincount(codes.features, minlength=n_features)
        fired = feature[item == item[-1]]
        if item[-1] == self._last_item:
            fired = np.union1d(fired, self._fired_there)
        self._last_item, self._fired_there = int(item[-1]), fired

    def metrics(self) -> dict[str, float | None]:
        """None where no feature fires."""
        alive = self._n_items > 0
        mean = float((self._n_firing[alive] / self._n_items[alive]).mean()) if alive.any() else None
        return {"consistent_activation": mean}
