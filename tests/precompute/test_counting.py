"""Both ways of counting co-activations agree, and a fair sample is fair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saescope.autoencoders.code_rows import CodeRows
from saescope.metrics.reconstruction import MetricSums
from saescope.precompute.one_pass.histogram import HistogramSpec
from saescope.precompute.one_pass.spill import Spill, SpillWriter
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables import coactivations as counting
from saescope.store.format.thresholds import dead_bound
from tests import reference


def spilled(codes: np.ndarray, folder: Path) -> Spill:
    row, feature = np.nonzero(codes)
    row_ptr = np.concatenate([[0], np.cumsum((codes != 0).sum(axis=1))])
    writer = SpillWriter(folder)
    n = len(codes)
    writer.append(CodeRows(row_ptr, feature.astype(np.int32), codes[row, feature]), np.arange(n), np.zeros(n, np.int64))
    writer.close()
    return Spill.open(folder)


@pytest.mark.parametrize("density", [0.02, 0.6])
@pytest.mark.parametrize("pair_cost", [0.0, 1e9])
def test_dense_and_sparse_counts_equal_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, density: float, pair_cost: float
) -> None:
    """A pair cost of 0 always counts pairs, a huge one always multiplies matrices."""
    rng = np.random.default_rng(0)
    codes = (rng.random((700, 30)) < density * rng.random(30)).astype(np.float32)
    monkeypatch.setattr(counting, "PAIR_COST", pair_cost)
    monkeypatch.setattr(counting, "COUNT_BYTES", 8 * 30 * 7)
    spill = spilled(codes, tmp_path / "spill")
    n_firing = (codes > 0).sum(axis=0)
    table = counting.coactivations(spill, spill.postings(n_firing), n_firing, 4).to_pylist()
    for feature, want in enumerate(reference.coactivations(codes, 4)):
        rows = [r for r in table if r["feature_id"] == feature]
        assert [(r["other_id"], r["n_both"], r["jaccard"]) for r in rows] == want


def test_every_firing_is_sampled_alike() -> None:
    """5 of 50 equal firings over 4,000 seeds: each is kept in about a tenth of them (binomial, 6 sigma)."""
    n, runs, kept = 50, 4000, 5
    counts = np.zeros(n)
    values = np.full(n, 1.5, np.float32)
    for seed in range(runs):
        state = FeatureState.empty(1, HistogramSpec(-1, 3, 1, 1), 1, kept, seed)
        state.add(CodeRows(np.arange(n + 1), np.zeros(n, np.int32), values), np.arange(n) // 5, np.arange(n) % 5)
        used = state.samples.n[:, 0] > 0
        counts[state.samples.item[used].ravel() * 5 + state.samples.position[used].ravel()] += 1
    p = kept / n
    assert counts.sum() == runs * kept
    assert np.abs(counts - runs * p).max() < 6 * np.sqrt(runs * p * (1 - p))


def test_metrics_of_degenerate_data() -> None:
    import torch

    constant = torch.full((10, 4), 0.3)
    sums = MetricSums(4)
    sums.add(constant, constant * 0.5, n_firing=20, l1=3.0)
    values = sums.values(n_features=8)
    assert values["fvu"] is None
    assert values["explained_variance"] is None
    assert values["l0"] == 2
    zeros = MetricSums(4)
    zeros.add(torch.cat([torch.zeros(3, 4), torch.ones(1, 4)]), torch.zeros(4, 4), n_firing=0, l1=0.0)
    assert zeros.values(8)["n_zero_inputs"] == 3
    assert zeros.values(8)["cosine"] == 0
    assert zeros.values(8)["fvu"] == pytest.approx(4 / 3)
    assert zeros.values(8)["nmse"] == 1
    assert zeros.values(8)["l2_ratio"] == 0
    assert zeros.values(8)["relative_reconstruction_bias"] is None


def test_a_constant_error_costs_no_centred_variance_and_a_shrunk_code_shows_in_the_bias() -> None:
    import torch

    x = torch.from_numpy(np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32))
    shifted, shrunk = MetricSums(3), MetricSums(3)
    shifted.add(x, x + 2, 0, 0.0)
    shrunk.add(x, 0.8 * x, 0, 0.0)
    assert shifted.values(2)["explained_variance_centred"] == pytest.approx(1, abs=1e-6)
    assert shifted.values(2)["explained_variance"] < 0
    for name, value in (("relative_reconstruction_bias", 0.8), ("l2_ratio", 0.8), ("nmse", 0.04)):
        assert shrunk.values(2)[name] == pytest.approx(value, rel=1e-5), name


def test_variance_survives_a_large_mean() -> None:
    """The textbook sum of squares would lose every digit here."""
    import torch

    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((5000, 3))).astype(np.float32)
    rebuilt = (x + 0.1 * rng.standard_normal(x.shape)).astype(np.float32)
    sums = MetricSums(3)
    for i in range(0, 5000, 128):
        sums.add(torch.from_numpy(x[i : i + 128]), torch.from_numpy(rebuilt[i : i + 128]), 0, 0.0)
    expected = reference.metrics(np.zeros((5000, 2), np.float32), x, rebuilt)
    assert sums.values(2)["fvu"] == pytest.approx(expected["fvu"], rel=1e-6)


def test_dead_bound() -> None:
    assert dead_bound(10_000) == pytest.approx(1 - 0.05 ** (1 / 10_000), rel=1e-12)
    assert dead_bound(0) == 1


def test_a_block_too_small_for_any_room_is_still_read() -> None:
    import torch

    from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
    from saescope.precompute.one_pass.blocks import Encoder

    sae = ReluAutoencoder(ReluConfig(d_in=3, n_features=3))
    with torch.no_grad():
        sae.encoder.copy_(torch.eye(3))
    codes = Encoder(sae, 1, torch.device("cpu"))(torch.tensor([[1.0, -1.0, 2.0]]))
    assert codes.sparse.features.tolist() == [0, 2]
    assert codes.sparse.values.tolist() == [1, 2]
