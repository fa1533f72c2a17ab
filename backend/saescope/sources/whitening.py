"""ZCA whitening: the linear map nearest to the identity that gives all directions unit variance.

Bell & Sejnowski 1997. With covariance U diag(lambda) U^T:

    W     = U diag((lambda + epsilon)^-1/2) U^T        W^-1 = U diag((lambda + epsilon)^1/2) U^T

`epsilon`, in squared raw units, keeps pixels that never vary (lambda = 0) finite and damps directions whose variance is
below it. W is symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from saescope.sources.moments import Moments
from saescope.store.errors import DataError, OptionError


@dataclass(frozen=True)
class Whitening:
    """y = (x - mean) @ matrix and back: x = y @ inverse + mean."""

    mean: Float64[np.ndarray, " d_in"]
    matrix: Float64[np.ndarray, "d_in d_in"]
    inverse: Float64[np.ndarray, "d_in d_in"]
    epsilon: float

    def apply(self, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_in"]:
        """Into the whitened space, in x's dtype."""
        return (x - self._tensor(self.mean, x)) @ self._tensor(self.matrix, x)

    def undo(self, y: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_in"]:
        """Back into raw units, in y's dtype."""
        return y @ self._tensor(self.inverse, y) + self._tensor(self.mean, y)

    @staticmethod
    def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(values).to(device=like.device, dtype=like.dtype)


def whitening_of(moments: Moments, epsilon: float) -> Whitening:
    """ZCA of data with these moments. `UserError` where `epsilon` leaves a direction without variance."""
    if not (np.isfinite(epsilon) and epsilon >= 0):
        raise OptionError(f"the whitening's epsilon is {epsilon}; expected a finite number, at least 0")
    eigenvalues, vectors = np.linalg.eigh(moments.covariance)
    eigenvalues = np.maximum(eigenvalues, 0.0)  # rounding leaves some a little below
    damped = eigenvalues + epsilon
    if damped[0] <= 1e-12 * damped[-1] or damped[-1] == 0.0:
        raise DataError(
            f"whitening with epsilon {epsilon:g} divides by zero: the data does not vary in every direction "
            f"(variances from {eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g})",
            f"use an epsilon of about {max(eigenvalues.mean() * 0.01, 1e-6):.1g}",
        )
    root = np.sqrt(damped)
    return Whitening(moments.mean, (vectors / root) @ vectors.T, (vectors * root) @ vectors.T, float(epsilon))
