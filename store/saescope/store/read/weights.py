"""Atoms straight from the weights file, by NumPy alone: memory-mapped, only the wanted rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saescope.store.errors import StoreError
from saescope.store.format.fields import parse_object
from saescope.store.format.safetensors import NUMPY_DTYPES, Header, as_float32, read_header
from saescope.store.read.connection import Connection


def read_weights_header(path: Path) -> Header:
    """The header of an entry's weights. Raises `StoreError` for one that is damaged."""
    return read_header(path, lambda message: StoreError(message, "run saescope verify, then build the entry again"))


class WeightsFile:
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


class WeightReader:
    """Reads of the weights file. It is opened by the first of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _weights(self) -> WeightsFile:
        return WeightsFile(self._connection.paths.weights)

    @cached_property
    def _unit_atoms(self) -> bool:
        """Whether codes carry the norms of W_dec's rows, so that what a code of 1 adds has norm 1."""
        try:
            return parse_object(self._connection.paths.config.read_bytes()).get("rescale_by_decoder_norm") is True
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self._connection.paths.config}: {error}", "run saescope verify") from error

    @property
    def has_atoms(self) -> bool:
        """Whether features have atoms that can be read: the decoder is linear, and the file is not damaged."""
        try:
            return self._weights.shape("W_dec") == self._atoms_shape
        except StoreError:
            return False

    @property
    def _atoms_shape(self) -> tuple[int, int]:
        return self._connection.manifest.n_features, self._connection.manifest.d_out

    def atoms(self, feature_ids: Sequence[int] | npt.NDArray[np.integer] | None = None) -> npt.NDArray[np.float32]:
        """Decoder directions [feature, d_out] of the given features (None: all), as float32: what a code of 1 adds.

        Only the wanted rows of the weights file are read. Raises `UnknownFeature`, `StoreError`.
        """
        shape = self._weights.shape("W_dec")
        if shape is None:
            raise StoreError(f"{self._connection.sae_id} has no atoms: its decoder is not linear")
        if shape != self._atoms_shape:
            raise StoreError(
                f"W_dec of {self._connection.sae_id} has shape {list(shape)}, expected {list(self._atoms_shape)}",
                "run saescope verify",
            )
        if feature_ids is None:
            return self._as_atoms(self._weights.tensor("W_dec"))
        ids = np.asarray(feature_ids, dtype=np.int64).reshape(-1)
        outside = ids[(ids < 0) | (ids >= shape[0])]
        if len(outside):
            self._connection.check_feature(int(outside[0]))
        return self._as_atoms(self._weights.tensor("W_dec", ids))

    def _as_atoms(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if not self._unit_atoms:
            return rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))

    def decoder_bias(self) -> npt.NDArray[np.float32] | None:
        """`b_dec` [d_out], what a zero code decodes to; None where there is none."""
        return None if self._weights.shape("b_dec") is None else self._weights.tensor("b_dec")
