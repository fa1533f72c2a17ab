"""Codes as compressed rows."""

from __future__ import annotations

import numba
import numpy as np

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.kernels.records import F32, I32, I64, RowNumbers


@numba.njit(cache=True, nogil=True)
def compress(codes: F32, threshold: np.float32, row_ptr: I64, features: I32, values: F32) -> int:
    """Firing entries of a dense block, by row then feature.

    Returns their number, or minus one where `features` and `values` are too short.
    """
    n_rows, n_features = codes.shape
    n = 0
    capacity = features.size
    whole = n_features - n_features % 16
    row_ptr[0] = 0
    for r in range(n_rows):
        row = codes[r]
        if n + n_features > capacity:  # only then can this row overflow: look before writing
            count = 0
            for f in range(n_features):
                if abs(row[f]) > threshold:
                    count += 1
            if n + count > capacity:
                return -1
        for start in range(0, whole, 16):
            fires = False
            for f in range(start, start + 16):
                fires |= abs(row[f]) > threshold
            if fires:
                for f in range(start, start + 16):
                    if abs(row[f]) > threshold:
                        features[n] = f
                        values[n] = row[f]
                        n += 1
        for f in range(whole, n_features):
            if abs(row[f]) > threshold:
                features[n] = f
                values[n] = row[f]
                n += 1
        row_ptr[r + 1] = n
    return n


@numba.njit(cache=True, nogil=True)
def compress_selection(
    indices: I64, selected: F32, threshold: np.float32, row_ptr: I64, features: I32, values: F32
) -> int:
    """Firing entries of at most k per row, in the order given. Returns their number."""
    n_rows, k = indices.shape
    n = 0
    row_ptr[0] = 0
    for r in range(n_rows):
        for j in range(k):
            if abs(selected[r, j]) > threshold:
                features[n] = indices[r, j]
                values[n] = selected[r, j]
                n += 1
        row_ptr[r + 1] = n
    return n


@numba.njit(cache=True, nogil=True)
def l1_of_rows(codes: CodeRows, rows: RowNumbers) -> float:
    """Sum of |value| over the firings of `rows`, in float64."""
    row_ptr, _, values = codes
    total = 0.0
    for r in rows:
        for e in range(row_ptr[r], row_ptr[r + 1]):
            total += np.float64(abs(values[e]))
    return total
