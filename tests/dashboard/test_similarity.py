"""The order that puts similar atoms side by side."""

from __future__ import annotations

import numpy as np

from saescope.dashboard.presentation.similarity import chained_order, spread_order


def test_the_walk_visits_every_feature_once_and_prefers_the_nearest() -> None:
    random = np.random.default_rng(0)
    neighbours = np.array([random.permutation(np.delete(np.arange(40), i))[:5] for i in range(40)])
    start = random.permutation(40)
    order = chained_order(neighbours, start)
    assert sorted(order.tolist()) == list(range(40))
    assert order[0] == start[0]
    for place in range(1, 40):
        seen = set(order[:place].tolist())
        free = [i for i in neighbours[order[place - 1]] if i not in seen]
        expected = free[0] if free else next(i for i in start if i not in seen)
        assert order[place] == expected


def test_missing_neighbours_are_skipped() -> None:
    assert chained_order(np.array([[-1, -1], [2, -1], [1, -1]]), np.array([1, 0, 2])).tolist() == [1, 2, 0]
    assert chained_order(np.full((3, 0), -1), np.array([2, 0, 1])).tolist() == [2, 0, 1]


def test_atoms_along_one_line_come_in_their_order() -> None:
    angle = np.linspace(0, np.pi / 2, 30)
    shuffle = np.random.default_rng(1).permutation(30)
    atoms = np.stack([np.cos(angle), np.sin(angle)], axis=1)[shuffle] * np.arange(1, 31)[:, None]
    found = shuffle[spread_order(atoms)].tolist()
    assert found in (list(range(30)), list(range(29, -1, -1)))
    assert sorted(spread_order(np.zeros((4, 3))).tolist()) == [0, 1, 2, 3]
