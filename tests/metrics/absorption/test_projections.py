"""The two formulas of absorption at one position, against the definition spelled out, and at their thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from saescope.metrics.absorption.projections import Projections, absorbed_fraction, is_fully_absorbed


def at(along: list[float], cosines: list[float], main: list[int], total: float) -> Projections:
    return Projections(np.array(along), np.array(cosines), np.isin(np.arange(len(along)), main), total)


def full_by_definition(p: Projections) -> bool:
    fires = [i for i in range(len(p.along)) if p.is_main[i]]
    if fires or p.total <= 0:
        return False
    best = None
    for i in range(len(p.along)):
        if best is None or p.along[i] > p.along[best]:
            best = i
    return best is not None and p.cosines[best] >= 0.025 and p.along[best] / p.total >= 0.4


def fraction_by_definition(p: Projections) -> float:
    main = sum(v for v, m in zip(p.along, p.is_main, strict=True) if m)
    others = [v for v, c, m in zip(p.along, p.cosines, p.is_main, strict=True) if not m and c >= 0.1 and v > 0]
    absorbers = sum(sorted(others, reverse=True)[:3])
    if p.total <= 0 or main >= p.total or absorbers / p.total < 0.4:
        return 0
    if main <= 0:
        return 1
    absorbed = min(absorbers, p.total - main)
    return absorbed / (absorbed + main)


def test_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(3000):
        n = int(rng.integers(0, 8))
        p = Projections(rng.normal(0.3, 1, n), rng.normal(0.1, 0.2, n), rng.random(n) < 0.2, float(rng.normal(1, 1.5)))
        full, fraction = is_fully_absorbed(p), absorbed_fraction(p)
        assert full == full_by_definition(p)
        assert fraction == pytest.approx(fraction_by_definition(p), abs=1e-12)
        assert 0 <= fraction <= 1
        kinds.add((full, fraction == 0, fraction == 1))
    assert len(kinds) > 4


def test_full_absorption_at_its_thresholds() -> None:
    assert is_fully_absorbed(at([0.4, 0.3], [0.025, 0.9], [], 1))
    assert not is_fully_absorbed(at([0.39], [0.9], [], 1))  # too small a part of x . p
    assert not is_fully_absorbed(at([0.4], [0.024], [], 1))  # not aligned
    assert not is_fully_absorbed(at([0.9, 1e-4], [0.9, 0.5], [1], 1))  # the main feature fires, if only a little
    assert not is_fully_absorbed(at([0.4, 0.41], [0.9, 0.02], [], 1))  # the one that adds most decides
    assert not is_fully_absorbed(at([0.9], [0.9], [], 0))
    assert not is_fully_absorbed(at([0.9], [0.9], [], -1))
    assert not is_fully_absorbed(at([], [], [], 1))


def test_fraction_at_its_thresholds() -> None:
    assert absorbed_fraction(at([0.4], [0.1], [], 1)) == 1  # no main feature fires
    assert absorbed_fraction(at([0.4], [0.09], [], 1)) == 0
    assert absorbed_fraction(at([0.39], [0.9], [], 1)) == 0
    assert absorbed_fraction(at([0.5, 0.5], [0.9, 0.9], [0], 1)) == pytest.approx(0.5)
    assert absorbed_fraction(at([0.8, 0.5], [0.9, 0.9], [0], 1)) == pytest.approx(0.2)  # no more than is left
    assert absorbed_fraction(at([1.0, 0.5], [0.9, 0.9], [0], 1)) == 0  # nothing is left
    assert absorbed_fraction(at([-0.1, 0.5], [0.9, 0.9], [0], 1)) == 1
    assert absorbed_fraction(at([0.15] * 4, [0.9] * 4, [], 1.2)) == 0  # 0.45 of the three largest, not 0.6
    assert absorbed_fraction(at([0.15] * 4, [0.9] * 4, [], 1.1)) == 1
    assert absorbed_fraction(at([0.9], [0.9], [], 0)) == absorbed_fraction(at([0.9], [0.9], [], -1)) == 0
    assert absorbed_fraction(at([], [], [], 1)) == 0
