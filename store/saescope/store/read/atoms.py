"""Atoms straight from the weights file: a safetensors reader on NumPy alone, memory-mapped, only the wanted rows.

The format (https://github.com/huggingface/safetensors#format): 8 bytes of little-endian header length, a JSON header
{name: {dtype, shape, data_offsets}}, then the tensors. Nothing in it can run; every size and bound is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from saescope.store.errors import StoreError

_MAX_HEADER_BYTES = 100_000_000
_HINT = "run saescope verify, then build the entry again"
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "|u1",
    "BOOL": "|b1",
}


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `start` is an offset in bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    n_bytes: int


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name. Raises `StoreError` for anything that does not fit the file."""
    try:
        n_file = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            if n_file < 8 or n_header > min(n_file - 8, _MAX_HEADER_BYTES):
                raise StoreError(f"{path} is truncated or no safetensors file ({n_file} bytes)", _HINT)
            header = json.loads(file.read(n_header))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}", _HINT) from error
    if not isinstance(header, dict):
        raise StoreError(f"the header of {path} is not an object", _HINT)
    entries = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        entries[name] = _checked(path, name, entry, 8 + n_header, n_file)
    return entries


def _checked(path: Path, name: str, entry: object, data_start: int, n_file: int) -> TensorEntry:
    try:
        assert isinstance(entry, Mapping)
        dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        assert all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (*shape, begin, end))
    except (AssertionError, KeyError, TypeError, ValueError):
        raise StoreError(f"the header of {path} describes tensor {name!r} wrongly", _HINT) from None
    if dtype not in _DTYPES:
        raise StoreError(f"tensor {name!r} of {path} has type {dtype}, expected one of {', '.join(_DTYPES)}", _HINT)
    n_bytes = prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if end - begin != n_bytes or data_start + end > n_file:
        raise StoreError(f"tensor {name!r} of {path} does not fit the file: it is truncated or damaged", _HINT)
    return TensorEntry(dtype, shape, data_start + begin, n_bytes)


def _as_float32(values: npt.NDArray[np.generic], dtype: str) -> npt.NDArray[np.float32]:
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)


class Weights:
    """Tensors of one safetensors file, read where they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = read_header(path)

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
        if not entry.n_bytes:
            return np.zeros((entry.shape if rows is None else (len(rows), *entry.shape[1:])), np.float32)
        try:
            values = np.memmap(self._path, _DTYPES[entry.dtype], "r", entry.start, entry.shape)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {self._path}: {error}", "open the entry again: store[sae_id]") from error
        picked = values if rows is None else values[np.asarray(rows, np.int64)]
        return _as_float32(np.asarray(picked), entry.dtype).copy() if rows is None else _as_float32(picked, entry.dtype)
