from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saescope.sources import held_out
from saescope.store.errors import UserError


@given(st.integers(2, 5000), st.integers(0, 2**63), st.floats(0.001, 0.999))
def test_at_least_one_and_never_all(n_items: int, seed: int, fraction: float) -> None:
    chosen = held_out(n_items, seed, fraction)
    assert chosen.shape == (n_items,)
    assert 1 <= chosen.sum() < n_items
    assert abs(chosen.sum() - fraction * n_items) <= 1
    np.testing.assert_array_equal(chosen, held_out(n_items, seed, fraction))


def test_seeds_choose_differently_and_evenly() -> None:
    a, b = held_out(10_000, 0), held_out(10_000, 1)
    assert a.sum() == b.sum() == 1000
    assert 50 <= (a & b).sum() <= 150  # independent choices share about 100
    tenths = a.reshape(10, 1000).sum(axis=1)  # no stretch of the order is favoured: 100 +- 4 standard deviations
    assert tenths.min() > 60
    assert tenths.max() < 140


def test_checkpoints_of_other_versions_and_machines_hold_out_the_same_items() -> None:
    assert held_out(60).nonzero()[0].tolist() == [12, 19, 38, 39, 47, 51]
    assert held_out(60, seed=7).nonzero()[0].tolist() == [5, 9, 12, 20, 36, 58]


def test_nothing_to_hold_out() -> None:
    assert not held_out(1).any()
    assert not held_out(0).any()
    assert not held_out(50, fraction=0.0).any()
    for fraction in (-0.1, 1.0):
        with pytest.raises(UserError, match="held-out fraction"):
            held_out(10, fraction=fraction)
