"""An order of features in which similar atoms stand side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


def spread_order(atoms: npt.NDArray[np.floating]) -> Ids:
    """Feature ids along the direction in which unit atoms [feature, d_out] differ most (first principal component).

    By power iteration from a fixed start: enough for an order, and linear in the number of features.
    """
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    unit = atoms / np.where(norms > 0, norms, 1)
    unit = unit - unit.mean(axis=0)
    direction = np.random.default_rng(0).normal(size=unit.shape[1])
    for _ in range(24):
        direction = unit.T @ (unit @ direction)
        length = np.linalg.norm(direction)
        if length == 0:
            break
        direction /= length
    order: Ids = np.argsort(unit @ direction, kind="stable")
    return order


def chained_order(neighbours: Ids, start_order: Ids) -> Ids:
    """A walk over all features: each step goes to the nearest neighbour that was not visited yet.

    neighbours [feature, rank] holds each feature's nearest others, nearest first, -1 where there are fewer. Where all
    of them were visited, the walk goes on at the first unvisited feature of `start_order`.
    """
    n_features = len(neighbours)
    visited = np.zeros(n_features, dtype=bool)
    nearest = neighbours.tolist()
    order: list[int] = []
    waiting = iter(start_order.tolist())
    here = -1
    while len(order) < n_features:
        if here < 0:
            here = next(i for i in waiting if not visited[i])
        visited[here] = True
        order.append(here)
        here = next((i for i in nearest[here] if i >= 0 and not visited[i]), -1)
    return np.array(order, dtype=np.int64)
