"""Shares of features in a reconstruction, against the definition written out."""

from __future__ import annotations

import numpy as np

from saescope.dashboard.presentation.rebuilding import shares


def test_shares_follow_their_definition_and_sum_to_one() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(size=(3, 5)) * (random.random((3, 5)) < 0.6)
    atoms = random.normal(size=(5, 7))
    built = [sum(codes[p, j] * atoms[j] for j in range(5)) for p in range(3)]
    total = sum(float(b @ b) for b in built)
    expected = [sum(float((codes[p, j] * atoms[j]) @ built[p]) for p in range(3)) / total for j in range(5)]
    np.testing.assert_allclose(shares(codes, atoms), expected, rtol=1e-12)
    np.testing.assert_allclose(shares(codes, atoms).sum(), 1)


def test_a_code_that_builds_nothing_has_no_shares() -> None:
    assert shares(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])).tolist() == [0, 0]
