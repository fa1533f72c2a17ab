"""Small real data as a table of activations."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.datasets import load_digits

from saescope.training.config import ResolvedConfig


class ArrayTable:
    """Rows of an array [row, d_in] in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)

    @property
    def n_rows(self) -> int:
        return self.values.shape[0]

    @property
    def d_in(self) -> int:
        return self.values.shape[1]

    def rows(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.values[indices])


@cache
def digits() -> ArrayTable:
    """1,797 images of 8 x 8 pixels in [0, 1]; some pixels never vary."""
    return ArrayTable(load_digits().data / 16)


DESCRIPTION = {"kind": "pixels", "data_sha256": "0" * 64, "held_out": None}


def settings(config: ResolvedConfig) -> SimpleNamespace:
    """All settings of a run by name, as its checkpoint records them."""
    return SimpleNamespace(**config.to_dict())
