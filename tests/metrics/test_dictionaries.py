"""Comparison of dictionaries against plain NumPy and SciPy over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from saescope.evaluation import compare_dictionaries
from saescope.metrics import dictionaries
from saescope.metrics.dictionaries import largest_cosines
from saescope.store.errors import UserError


def atoms(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def all_cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    def unit(x: torch.Tensor) -> np.ndarray:
        wide = x.double().numpy()
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        return wide / np.where(norms > 0, norms, 1)

    return unit(a) @ unit(b).T


@pytest.fixture(params=["one block", "many blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many blocks":
        monkeypatch.setattr(dictionaries, "BLOCK_ROWS", 7)
        monkeypatch.setattr(dictionaries, "BLOCK_COLUMNS", 5)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize(("n_first", "n_second"), [(40, 25), (25, 40), (30, 30), (1, 3)])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_against_brute_force(n_first: int, n_second: int, threshold: float) -> None:
    first, second = atoms(n_first, 5, 0), atoms(n_second, 5, 1)
    second[0] = 0
    found = compare_dictionaries(first, second, threshold)
    cosines = all_cosines(first, second)
    np.testing.assert_allclose(found.best_in_second, cosines.max(1), atol=1e-6)
    np.testing.assert_allclose(found.best_in_first, cosines.max(0), atol=1e-6)
    assert found.mmcs == pytest.approx((cosines.max(1).mean(), cosines.max(0).mean()), abs=1e-6)

    worth = np.where(cosines >= threshold, cosines, 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    expected = {(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if worth[r, c] > 0}
    assert {tuple(pair) for pair in found.pairs.tolist()} == expected
    assert found.unmatched == (n_first - len(expected), n_second - len(expected))


@pytest.mark.usefixtures("_blocks")
def test_a_permuted_and_rescaled_dictionary_is_matched_completely() -> None:
    first = atoms(60, 16, 0)
    order = np.random.default_rng(1).permutation(60)
    found = compare_dictionaries(first, 3 * first[torch.from_numpy(order)])
    assert found.mmcs == pytest.approx((1, 1), abs=1e-6)
    assert found.unmatched == (0, 0)
    np.testing.assert_array_equal(found.pairs[:, 0], np.arange(60))
    np.testing.assert_array_equal(order[found.pairs[:, 1]], np.arange(60))
    opposite = compare_dictionaries(first, -first, 0.9)
    assert len(opposite.pairs) == 0
    assert opposite.unmatched == (60, 60)


def test_one_atom_is_not_matched_with_several() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.05], [1.0, 0.0], [1.0, -0.05]])
    found = compare_dictionaries(first, second)
    assert found.pairs.tolist() == [[0, 1]]
    assert found.unmatched == (1, 2)


def test_many_equal_atoms_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "MOST_CANDIDATES", 4)
    found = compare_dictionaries(torch.ones(50, 3), torch.ones(70, 3))
    assert found.mmcs == pytest.approx((1, 1))
    assert 1 <= len(found.pairs) <= 50
    assert len(set(found.pairs[:, 1].tolist())) == len(found.pairs)


@pytest.mark.usefixtures("_blocks")
def test_largest_cosines_leave_out_the_vector_itself() -> None:
    vectors = atoms(23, 4, 0)
    cosines = all_cosines(vectors, vectors)
    np.fill_diagonal(cosines, -2)
    np.testing.assert_allclose(largest_cosines(vectors).numpy(), cosines.max(1), atol=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="5 and of 6 dimensions"):
        compare_dictionaries(atoms(3, 5, 0), atoms(3, 6, 0))
    with pytest.raises(UserError, match="threshold is 0"):
        compare_dictionaries(atoms(3, 5, 0), atoms(3, 5, 0), 0)
