"""Bins are exact, whatever the value."""

from __future__ import annotations

import numpy as np
import pytest

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.one_pass.histogram import RECTIFIED, SIGMOID, HistogramSpec
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables.intervals import sampling_counts
from saescope.store.errors import UserError

SPECS = [RECTIFIED, SIGMOID, HistogramSpec(-3, 5, 6, 3), HistogramSpec(-2, 2, 1, 1)]


def counted(values: np.ndarray, spec: HistogramSpec) -> FeatureState:
    """The state after `values` as firings of the only feature."""
    n = len(values)
    state = FeatureState.empty(1, spec, 3, 255, 0)
    state.add(CodeRows(np.arange(n + 1), np.zeros(n, np.int32), values), np.arange(n), np.zeros(n, np.int64))
    return state


@pytest.mark.parametrize("spec", SPECS)
def test_every_value_lies_in_the_bin_that_the_edges_say(spec: HistogramSpec) -> None:
    rng = np.random.default_rng(0)
    edges = spec.edges()
    near = [np.nextafter(edges[1:-1], np.float32(0)), edges[1:-1], np.nextafter(edges[1:-1], np.float32(np.inf))]
    wild = np.exp2(rng.uniform(-149, 127, 4000)).astype(np.float32)
    typical = rng.lognormal(0, 2, 4000).astype(np.float32)
    extremes = np.array([np.finfo(np.float32).tiny, 1e-45, np.finfo(np.float32).max], np.float32)
    values = np.concatenate([*near, wild, typical, extremes])
    values[::2] *= -1
    state = counted(values, spec)
    expected = np.histogram(np.abs(values).astype(np.float64), edges.astype(np.float64))[0]
    np.testing.assert_array_equal(state.sums.histogram[0], expected)
    assert state.sums.histogram.sum() == len(values)
    sampled = np.histogram(np.abs(values).astype(np.float64), spec.sampling_edges().astype(np.float64))[0]
    np.testing.assert_array_equal(sampling_counts(state.sums.histogram, spec)[0], sampled)
    np.testing.assert_array_equal(state.samples.n[:, 0], np.minimum(sampled, 255))


def test_edges_are_fractions_of_octaves() -> None:
    edges = RECTIFIED.edges().astype(np.float64)
    assert len(edges) == RECTIFIED.n_bins + 1
    assert edges[0] == 0
    assert edges[-1] == np.finfo(np.float32).max
    np.testing.assert_allclose(np.diff(np.log2(edges[1:-1])), 0.25, atol=1e-6)
    assert edges[1] == 2.0**-16
    assert edges[-2] == 2.0**16


@pytest.mark.parametrize(
    "bad", [{"low": 3, "high": 3}, {"bins_per_octave": 0}, {"bins_per_octave": 4, "samples_per_octave": 3}]
)
def test_bad_bins_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(UserError):
        HistogramSpec(**bad)
