"""Sparse decoding."""

from __future__ import annotations

import numba

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.kernels.records import F32, I64


@numba.njit(cache=True, nogil=True, fastmath=True)
def gather(chosen: I64, codes: CodeRows, atoms: F32, bias: F32, out: F32) -> None:
    """Reconstructions of the chosen rows: bias plus the sum of value times atom, four atoms at a time."""
    row_ptr, features, values = codes
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
