"""Mean and covariance of a table of activations, in blocks, in float64.

Memory is bounded by the width of an activation and the block, not by the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from saescope.progress import SILENT, Progress
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError

_BLOCK_VALUES = 1 << 21
"""Values per block: 16 MiB in float64."""


@dataclass(frozen=True)
class Moments:
    """First two moments over the rows of a table, in raw units."""

    n_rows: int
    mean: Float64[np.ndarray, " d_in"]
    covariance: Float64[np.ndarray, "d_in d_in"]
    """Population covariance: mean of (x - mean)(x - mean)^T."""


def measure_moments(table: ActivationTable, progress: Progress = SILENT) -> Moments:
    """Mean and covariance over all rows. Raises `DataError` where there are none."""
    d_in = table.d_in
    shift: np.ndarray | None = None  # near the mean, so that subtracting the mean's square cancels little
    total = np.zeros(d_in)
    products = np.zeros((d_in, d_in))
    for done, block in _blocks(table):
        if shift is None:
            shift = block.mean(axis=0)
        block -= shift
        total += block.sum(axis=0)
        products += block.T @ block  # the same array twice: NumPy computes one triangle
        progress.update("measuring the data", done, table.n_rows)
    if shift is None:
        raise DataError("the data has no positions to measure; expected at least 1")
    n_rows = table.n_rows
    offset = total / n_rows
    covariance = products / n_rows - np.outer(offset, offset)
    return Moments(n_rows, shift + offset, (covariance + covariance.T) / 2)


def _blocks(table: ActivationTable) -> Iterator[tuple[int, Float64[np.ndarray, "row d_in"]]]:
    """All rows in order as float64 copies, each with the number of rows read so far."""
    step = max(1, _BLOCK_VALUES // table.d_in)
    for start in range(0, table.n_rows, step):
        stop = min(start + step, table.n_rows)
        yield stop, table.rows(np.arange(start, stop, dtype=np.int64)).cpu().numpy().astype(np.float64)
