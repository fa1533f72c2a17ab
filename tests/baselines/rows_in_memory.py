"""A table over an array in memory."""

from __future__ import annotations

import numpy as np
import torch


class Rows:
    """Its rows are positions."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))

    @property
    def n_rows(self) -> int:
        return len(self._values)

    @property
    def d_in(self) -> int:
        return self._values.shape[1]

    def rows(self, indices: np.ndarray) -> torch.Tensor:
        return self._values[torch.from_numpy(indices)]
