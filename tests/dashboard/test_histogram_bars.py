"""Bars of the activation histogram and the names of the intervals."""

from __future__ import annotations

import numpy as np

from saescope.dashboard.components.activation_histogram import Bars, bars, interval_names
from saescope.store.numbers import significant

EDGES = [0.0, 0.5, 1.0, 2.0, 4.0, float(np.finfo(np.float32).max)]


def test_bars_run_from_the_first_to_the_last_occupied_bin() -> None:
    assert bars([0, 3, 0, 2, 0], EDGES) == Bars((0.5, 1.0, 2.0), (1.0, 2.0, 4.0), (3, 0, 2))
    assert bars([0] * 5, EDGES) == Bars((), (), ())


def test_the_open_bins_take_the_width_of_their_neighbour() -> None:
    shown = bars([1, 0, 0, 0, 7], EDGES)
    assert shown.lower == (0.25, 0.5, 1.0, 2.0, 4.0)
    assert shown.upper == (0.5, 1.0, 2.0, 4.0, 8.0)
    assert sum(shown.counts) == 8


def test_intervals_are_named_by_what_they_span() -> None:
    assert interval_names([4.0, 2.0, 0.0], 8.21, significant) == ["8.21–4.00", "4.00–2.00", "< 2.00"]
    assert interval_names([2.0, 0.5], -3.0, significant) == ["3.00–2.00", "2.00–0.500"]
    assert interval_names([0.0], 0.25, significant) == ["0.250–0"]
    assert interval_names([], None, significant) == []
