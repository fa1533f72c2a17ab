from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from saescope.baselines import pca_baseline
from saescope.sources import SourceOptions, held_out, open_source
from saescope.sources.moments import measure_moments
from saescope.sources.whitening import whitening_of
from saescope.store.errors import UserError
from saescope.store.format.schema import schema_of
from tests.baselines.rows_in_memory import Rows


def reference(train: np.ndarray, test: np.ndarray, n: int) -> tuple[float, float]:
    """MSE and FVU of scikit-learn's PCA, rebuilt explicitly."""
    model = PCA(n_components=n, svd_solver="full").fit(train)
    rebuilt = model.inverse_transform(model.transform(test))
    squared = (test - rebuilt) ** 2
    return squared.mean(), squared.sum() / ((test - test.mean(axis=0)) ** 2).sum()


def test_equals_scikit_learn_on_held_out_digits() -> None:
    source = open_source(SourceOptions(images="embedded:digits"))
    held = held_out(source.n_items)
    counts = [1, 4, 16, 40, 63]
    table = pca_baseline(source.table(~held), source.table(held), counts)
    assert table.schema.equals(schema_of("baselines"))
    assert table["n_components"].to_pylist() == counts
    assert table["l0"].to_pylist() == [float(c) for c in counts]
    digits = (load_digits().data / 16).astype(np.float32).astype(np.float64)
    for row in table.to_pylist():
        mse, fvu = reference(digits[~held], digits[held], row["n_components"])
        assert row["mse"] == pytest.approx(mse, rel=1e-9, abs=1e-14)
        assert row["fvu"] == pytest.approx(fvu, rel=1e-9, abs=1e-14)


def test_whitened_fvu_equals_pca_of_whitened_data() -> None:
    source = open_source(SourceOptions(images="embedded:photos", patch=6, stride=32))
    held = held_out(source.n_items)
    train, test = source.table(~held), source.table(held)
    whitening = whitening_of(measure_moments(train), 1e-3)
    table = pca_baseline(train, test, [3, 20], whitening=whitening.matrix)
    arrays = [t.rows(np.arange(t.n_rows)).double().numpy() for t in (train, test)]
    white = [(a - whitening.mean) @ whitening.matrix for a in arrays]
    for row in table.to_pylist():
        assert row["fvu"] == pytest.approx(reference(*arrays, row["n_components"])[1], rel=1e-9)
        assert row["fvu_transformed"] == pytest.approx(reference(*white, row["n_components"])[1], rel=1e-6)
        assert row["fvu_transformed"] > row["fvu"]


def test_a_large_mean_costs_no_accuracy() -> None:
    rng = np.random.default_rng(0)
    centred = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12))
    data = (centred + 1000).astype(np.float32).astype(np.float64)
    row = pca_baseline(Rows(data), Rows(data), [5]).to_pylist()[0]
    assert row["fvu"] == pytest.approx(reference(data, data, 5)[1], rel=1e-7)


def test_ends_of_the_range() -> None:
    data = np.random.default_rng(0).normal(size=(40, 6))
    none, full = pca_baseline(Rows(data), Rows(data), [6, 0]).to_pylist()
    assert none["fvu"] == pytest.approx(1.0, rel=1e-12)
    assert full["fvu"] == pytest.approx(0.0, abs=1e-15)


def test_data_that_does_not_vary_has_no_fvu() -> None:
    data = np.ones((5, 3))
    row = pca_baseline(Rows(np.eye(3)), Rows(data), [1]).to_pylist()[0]
    assert row["fvu"] is None
    assert row["mse"] > 0


@pytest.mark.parametrize("counts", [[], [-1], [1, 7]])
def test_impossible_numbers_of_components_are_refused(counts: list[int]) -> None:
    with pytest.raises(UserError, match="from 0 to 6"):
        pca_baseline(Rows(np.eye(6)), Rows(np.eye(6)), counts)


def test_widths_must_agree() -> None:
    with pytest.raises(UserError, match="width 6 and evaluated on width 5"):
        pca_baseline(Rows(np.eye(6)), Rows(np.eye(5)), [1])
