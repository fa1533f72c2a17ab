"""Codes with what does not fire left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64


class CodeRows(NamedTuple):
    """The firings of a run of positions, row after row: row r fires `features[row_ptr[r]:row_ptr[r + 1]]`.

    A tuple of plain arrays, which compiled loops take as it is.
    """

    row_ptr: Int64[np.ndarray, " row+1"]
    features: Int32[np.ndarray, " firing"]
    values: Float32[np.ndarray, " firing"]
    """Activation of each firing."""

    @property
    def n_rows(self) -> int:
        return len(self.row_ptr) - 1
