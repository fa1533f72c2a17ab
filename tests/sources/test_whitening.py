from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from saescope.sources import SourceOptions, open_source
from saescope.sources.moments import measure_moments
from saescope.sources.whitening import Whitening, whitening_of
from saescope.store.errors import UserError


class Rows:
    def __init__(self, values: np.ndarray) -> None:
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        self.n_rows, self.d_in = self.values.shape
        self.largest = 0

    def rows(self, indices: np.ndarray) -> Tensor:
        self.largest = max(self.largest, len(indices))
        return self.values[torch.from_numpy(indices)]


def digits() -> tuple[Rows, np.ndarray]:
    table = open_source(SourceOptions(images="embedded:digits")).table()
    values = table.rows(np.arange(table.n_rows)).numpy()
    return Rows(values), values.astype(np.float64)


def test_moments_equal_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    table, values = digits()
    monkeypatch.setattr("saescope.sources.moments._BLOCK_VALUES", 64 * 100)
    moments = measure_moments(table)
    assert table.largest == 100
    assert moments.n_rows == 1797
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(moments.covariance, np.cov(values.T, bias=True), rtol=1e-10, atol=1e-15)


def test_zca_gives_the_stated_covariance_and_comes_back() -> None:
    table, values = digits()
    epsilon = 1e-3
    whitening = whitening_of(measure_moments(table), epsilon)
    white = whitening.apply(torch.from_numpy(values))
    eigenvalues, vectors = np.linalg.eigh(np.cov(values.T, bias=True))
    expected = (vectors * (eigenvalues / (eigenvalues + epsilon))) @ vectors.T
    np.testing.assert_allclose(np.cov(white.numpy().T, bias=True), expected, atol=1e-10)
    np.testing.assert_allclose(whitening.undo(white).numpy(), values, atol=1e-12)
    np.testing.assert_allclose(whitening.matrix, whitening.matrix.T, atol=1e-12)
    assert whitening.apply(torch.from_numpy(values).float()).dtype == torch.float32


def test_pixels_that_never_vary_need_an_epsilon() -> None:
    table, values = digits()
    assert (values.var(axis=0) == 0).any()
    with pytest.raises(UserError, match="divides by zero") as caught:
        whitening_of(measure_moments(table), 0.0)
    assert "epsilon of about" in str(caught.value.hint)
    for epsilon in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="expected a finite number"):
            whitening_of(measure_moments(table), epsilon)


def test_data_of_full_rank_whitens_to_the_identity_without_epsilon() -> None:
    rng = np.random.default_rng(1)
    table = Rows(rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 3)
    whitening = whitening_of(measure_moments(table), 0.0)
    assert isinstance(whitening, Whitening)
    white = whitening.apply(table.values.double()).numpy()
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(5), atol=1e-9)
