"""How far positions lie from normal ones: the formulas of every score, and what they are fitted on.

Each is measured on normal positions alone and written once, here. r is a position's residual (reconstruction minus
input), z its code, d the number of their dimensions.

mse           sum_j r_j^2 / d
standardised  sum_j (r_j - m_j)^2 / v_j / d, with the mean m and variance v of normal residuals
whitened      (r - m)^T C^-1 (r - m) / d, with their covariance C: the squared Mahalanobis distance over d (Mahalanobis
1936)

Variances are kept from vanishing: v_j + RIDGE * mean(v), and C + RIDGE * mean(v) * I.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy.linalg import cho_solve, solve_triangular

from saescope.anomalies.options import Score
from saescope.store.errors import DataError, OptionError

FORMULAS: dict[str, str] = {
    "mse": "sum_j r_j^2 / d",
    "standardised": "sum_j (r_j - m_j)^2 / v_j / d, m and v over normal residuals",
    "whitened": "(r - m)^T C^-1 (r - m) / d, m and C over normal residuals",
}
RIDGE = 1e-2
"""Of the mean variance, added to each: pixels that are black in every normal picture would count without bound."""
MOST_WHITENED = 4096
"""Dimensions whose covariance is held at most."""


class Moments:
    """Sums over rows as they come: mean, variances and, if wanted, the covariance."""

    def __init__(self, d: int, *, covariance: bool) -> None:
        if covariance and d > MOST_WHITENED:
            raise OptionError(
                f"whitening {d:,} dimensions needs their covariance; at most {MOST_WHITENED:,} are whitened",
                "use --score standardised or mse",
            )
        self._n, self._shift = 0, np.zeros(d)
        self._sum, self._products = np.zeros(d), np.zeros((d, d) if covariance else d)

    def add(self, rows: Float32[np.ndarray, "row d"]) -> None:
        if not len(rows):
            return
        values = rows.astype(np.float64)
        if not self._n:
            self._shift = values.mean(axis=0)
        values -= self._shift
        self._n += len(values)
        self._sum += values.sum(axis=0)
        self._products += values.T @ values if self._products.ndim == 2 else (values * values).sum(axis=0)

    @property
    def n(self) -> int:
        return self._n

    @property
    def mean(self) -> Float64[np.ndarray, " d"]:
        if not self._n:
            raise DataError("there are no normal positions to fit on")
        mean: Float64[np.ndarray, " d"] = self._shift + self._sum / self._n
        return mean

    @property
    def spread(self) -> Float64[np.ndarray, ...]:
        """Population covariance, or the variances alone."""
        offset = self._sum / self._n
        square = np.outer(offset, offset) if self._products.ndim == 2 else offset * offset
        return self._products / self._n - square


@dataclass(frozen=True)
class Distance:
    """One fitted formula."""

    score: Score
    mean: Float64[np.ndarray, " d"]
    """Of normal rows; zeros for mse."""
    root: Float64[np.ndarray, ...]
    """[d] standard deviations, or the lower Cholesky factor [d, d] of the covariance; ones for mse."""

    @staticmethod
    def fit(score: Score, moments: Moments) -> Distance:
        d = len(moments.mean)
        if score == "mse":
            return Distance(score, np.zeros(d), np.ones(d))
        spread = moments.spread
        variances = np.maximum(np.diag(spread) if spread.ndim == 2 else spread, 0.0)
        ridge = RIDGE * float(variances.mean()) or 1.0
        if score == "standardised":
            return Distance(score, moments.mean, np.sqrt(variances + ridge))
        return Distance(score, moments.mean, np.linalg.cholesky(spread + ridge * np.eye(d)))

    def contributions(self, rows: Float32[np.ndarray, "row d"]) -> Float64[np.ndarray, "row d"]:
        """What each dimension adds to the score; they sum to it. Of whitened ones (r - m)_j (C^-1 (r - m))_j / d: below
        zero where a dimension is as the others make one expect."""
        centred = rows.astype(np.float64) - self.mean
        if self.root.ndim == 2:
            found: Float64[np.ndarray, "row d"] = centred * cho_solve((self.root, True), centred.T).T / rows.shape[1]
            return found
        return self._squares(rows) / rows.shape[1]

    def _squares(self, rows: Float32[np.ndarray, "row d"]) -> Float64[np.ndarray, "row d"]:
        """Squares whose mean is the score."""
        centred = rows.astype(np.float64) - self.mean
        is_whitened = self.root.ndim == 2
        scaled = solve_triangular(self.root, centred.T, lower=True).T if is_whitened else centred / self.root
        parts: Float64[np.ndarray, "row d"] = scaled * scaled
        return parts

    def of(self, rows: Float32[np.ndarray, "row d"]) -> Float64[np.ndarray, " row"]:
        """The score of each row."""
        scores: Float64[np.ndarray, " row"] = self._squares(rows).mean(axis=1)
        return scores
