"""Atoms straight from the weights file, by NumPy alone: memory-mapped, only the wanted rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saescope.store.errors import StoreError
from saescope.store.format.safetensors import NUMPY_DTYPES, Header, as_float32, read_header


def read_weights_header(path: Path) -> Header:
    """The header of an entry's weights. Raises `StoreError` for one that is damaged."""
    return read_header(path, lambda message: StoreError(message, "run saescope verify, then build the entry again"))


class Weights:
    """Tensors of one safetensors file, read where they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = read_weights_header(path).tensors

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor, or None where there is none of that name."""
        entry = self._entries.get(name)
        return None if entry is None else entry.shape

    def tensor(self, name: str, rows: Sequence[int] | npt.NDArray[np.integer] | None = None) -> npt.NDArray[np.float32]:
        """Tensor `name`, or only the given `rows` of its first dimension, as float32.

        Raises `StoreError` where it is missing, or was removed with its version.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise StoreError(f"{self._path} has no tensor {name!r}; it has {', '.join(sorted(self._entries))}")
        if entry.dtype not in NUMPY_DTYPES:
            raise StoreError(f"tensor {name!r} of {self._path} has type {entry.dtype}, which NumPy cannot read")
        if not entry.n_bytes:
            return np.zeros((entry.shape if rows is None else (len(rows), *entry.shape[1:])), np.float32)
        try:
            values = np.memmap(self._path, NUMPY_DTYPES[entry.dtype], "r", entry.start, entry.shape)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self._path}: {error}", "open the entry again: store[sae_id]") from error
        picked = values if rows is None else values[np.asarray(rows, np.int64)]
        return as_float32(np.asarray(picked), entry.dtype).copy() if rows is None else as_float32(picked, entry.dtype)
