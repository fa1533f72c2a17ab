from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saescope.sources import SourceOptions, held_out, held_out_items, open_source
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


class _Grouped:
    """Items of documents of 1, 2, 3, ... items."""

    def __init__(self, n_groups: int) -> None:
        self.groups = np.repeat(np.arange(n_groups), np.arange(1, n_groups + 1))
        self.n_items = len(self.groups)


def test_whole_groups_are_held_out() -> None:
    source = _Grouped(400)
    chosen = held_out_items(source, 0, 0.25)  # type: ignore[arg-type]
    held = np.unique(source.groups[chosen])
    assert 70 <= len(held) <= 130  # 100 +- 3.5 standard deviations
    assert not np.isin(source.groups[~chosen], held).any()


def test_groups_fall_on_the_same_side_whichever_of_them_are_read() -> None:
    whole, part = _Grouped(400), _Grouped(400)
    part.groups = part.groups[part.groups % 3 == 1]
    part.n_items = len(part.groups)
    expected = held_out_items(whole)[whole.groups % 3 == 1]  # type: ignore[arg-type]
    np.testing.assert_array_equal(held_out_items(part), expected)  # type: ignore[arg-type]


def test_at_least_one_group_and_never_all_unless_strictly() -> None:
    for n_groups in range(2, 8):
        source = _Grouped(n_groups)
        for fraction in (0.01, 0.99):
            chosen = held_out_items(source, 0, fraction)  # type: ignore[arg-type]
            assert chosen.any()
            assert not chosen.all()
    assert not held_out_items(_Grouped(3), 0, 0.001, strictly=True).any()  # type: ignore[arg-type]
    assert not held_out_items(_Grouped(1)).any()  # type: ignore[arg-type]


def test_items_without_groups_are_held_out_one_by_one() -> None:
    source = open_source(SourceOptions(images="embedded:digits"))
    np.testing.assert_array_equal(held_out_items(source, 3, 0.2), held_out(source.n_items, 3, 0.2))
