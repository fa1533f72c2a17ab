"""Sparse decoding, and the sums of its metrics."""

from __future__ import annotations

import numba
import numpy as np

from saescope.precompute.kernels.types import F32, F64, I32, I64


@numba.njit(cache=True, nogil=True, fastmath=True)
def gather(chosen: I64, row_ptr: I64, features: I32, values: F32, atoms: F32, bias: F32, out: F32) -> None:
    """Reconstructions of the chosen rows: bias plus the sum of value times atom, four atoms at a time."""
    width = atoms.shape[1]
    for i in range(chosen.size):
        row = out[i]
        row[:] = bias
        e, end = row_ptr[chosen[i]], row_ptr[chosen[i] + 1]
        while e + 4 <= end:
            a, b, c, d = atoms[features[e]], atoms[features[e + 1]], atoms[features[e + 2]], atoms[features[e + 3]]
            s, t, u, v = values[e], values[e + 1], values[e + 2], values[e + 3]
            for j in range(width):
                row[j] += s * a[j] + t * b[j] + u * c[j] + v * d[j]
            e += 4
        while e < end:
            a, s = atoms[features[e]], values[e]
            for j in range(width):
                row[j] += s * a[j]
            e += 1


@numba.njit(cache=True, nogil=True, fastmath=True)
def row_sums(x: F32, rebuilt: F32, shift: F32, per_row: F64, per_column: F64) -> None:
    """The sums that reconstruction metrics are made of, in float64.

    `per_row[r]` is ||x - rebuilt||^2, ||x - shift||^2, x . rebuilt, ||x||^2, ||rebuilt||^2 of row r; x - shift is added
    to `per_column[0]`, x - rebuilt to `per_column[1]`.
    """
    n_rows, width = x.shape
    for r in range(n_rows):
        residual = squares = dot = norm = norm_rebuilt = 0.0
        for j in range(width):
            a, b = np.float64(x[r, j]), np.float64(rebuilt[r, j])
            centred = a - np.float64(shift[j])
            residual += (a - b) * (a - b)
            squares += centred * centred
            dot += a * b
            norm += a * a
            norm_rebuilt += b * b
            per_column[0, j] += centred
            per_column[1, j] += a - b
        per_row[r, 0] = residual
        per_row[r, 1] = squares
        per_row[r, 2] = dot
        per_row[r, 3] = norm
        per_row[r, 4] = norm_rebuilt
