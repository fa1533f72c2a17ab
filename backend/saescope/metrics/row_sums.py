"""The sums that reconstruction metrics are made of."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor


class RowSums(NamedTuple):
    """What reconstruction metrics are made of, in float64: five numbers per row, and two per column."""

    residual: Float64[np.ndarray, " row"]
    """||x - x_hat||^2"""
    centred: Float64[np.ndarray, " row"]
    """||x - shift||^2"""
    dot: Float64[np.ndarray, " row"]
    """x . x_hat"""
    norm: Float64[np.ndarray, " row"]
    """||x||^2"""
    norm_rebuilt: Float64[np.ndarray, " row"]
    """||x_hat||^2"""
    columns: Float64[np.ndarray, " d"]
    """sum over rows of x - shift"""
    residual_columns: Float64[np.ndarray, " d"]
    """sum over rows of x - x_hat"""

    @staticmethod
    def of(per_row: Float64[np.ndarray, "row 5"], columns: Float64[np.ndarray, "2 d"]) -> RowSums:
        """From what `row_sums` gives, on the host."""
        return RowSums(*per_row.T, *columns)


def row_sums(
    x: Float[Tensor, "row d"], rebuilt: Float[Tensor, "row d"], shift: Float[Tensor, " d"]
) -> tuple[Float64[Tensor, "row 5"], Float64[Tensor, "2 d"]]:
    """Sums of a block, on the device on which it lies: what `RowSums.of` takes."""
    if x.device.type == "cpu":
        per_row, columns = np.empty((len(x), 5)), np.zeros((2, x.shape[1]))
        _add_rows(x.contiguous().numpy(), rebuilt.contiguous().numpy(), shift.numpy(), per_row, columns)
        return torch.from_numpy(per_row), torch.from_numpy(columns)
    wide, other = x.double(), rebuilt.double()
    centred, missed = wide - shift.double(), wide - other
    pairs = ((missed, missed), (centred, centred), (wide, other), (wide, wide), (other, other))
    return torch.stack([torch.linalg.vecdot(*pair) for pair in pairs], 1), torch.stack([centred.sum(0), missed.sum(0)])


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_rows(
    x: Float32[np.ndarray, "row d"],
    rebuilt: Float32[np.ndarray, "row d"],
    shift: Float32[np.ndarray, " d"],
    per_row: Float64[np.ndarray, "row 5"],
    per_column: Float64[np.ndarray, "2 d"],
) -> None:
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
