"""The header of a safetensors file: which tensors it holds, and where, by NumPy and JSON alone.

The format (https://github.com/huggingface/safetensors#format): 8 bytes of little-endian header length, a JSON header
{name: {dtype, shape, data_offsets}}, then the tensors, one behind the other without gaps. Nothing in it can run; every
size and bound is checked before anything is made of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from saescope.store.errors import UserError

SUFFIX = ".safetensors"
MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
NUMPY_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""Types that NumPy can map. It has no bfloat16: these are the upper halves of float32 values, see `as_float32`."""

_WIDTHS = {name: np.dtype(dtype).itemsize for name, dtype in NUMPY_DTYPES.items()} | {
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "C64": 8,
}
_METADATA = "__metadata__"

Fault = Callable[[str], UserError]
"""The error that a file's fault is, for those who asked for it."""


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `start` is an offset in bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    n_bytes: int


@dataclass(frozen=True)
class Header:
    """What a file holds."""

    tensors: dict[str, TensorEntry]
    """By name, in the header's order."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Free text of its writer, by name."""


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file with these first bytes (16 or so) may be one, whatever its name."""
    return start[8:9] == b"{"


def read_header(path: Path, fault: Fault) -> Header:
    """The header of the file at `path`. Raises `fault` of a message for anything that does not fit the file: one that
    is cut off, repeated names, tensors that overlap, leave gaps or lie outside it."""
    try:
        n_file = path.stat().st_size
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            if n_file < 8 or n_header > min(n_file - 8, MAX_HEADER_BYTES):
                raise fault(f"{path} is truncated or no safetensors file ({n_file} bytes)")
            parsed = json.loads(file.read(n_header).decode(), object_pairs_hook=_without_repetition)
    except (OSError, ValueError, RecursionError) as error:
        raise fault(f"cannot read {path}: {error}") from error
    if not isinstance(parsed, dict):
        raise fault(f"the header of {path} is not an object")
    metadata = parsed.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise fault(f"the header of {path} has metadata that is no text by name")
    entries = {name: _entry(path, name, entry, 8 + n_header, fault) for name, entry in parsed.items()}
    end = 8 + n_header
    for name, entry in sorted(entries.items(), key=lambda each: (each[1].start, each[1].n_bytes)):
        if entry.start != end:
            kind = "overlaps another" if entry.start < end else "leaves a gap before it"
            raise fault(f"tensor {name!r} of {path} {kind}: the header is damaged")
        end += entry.n_bytes
        if end > n_file:
            raise fault(f"tensor {name!r} of {path} does not fit the file: it is truncated or damaged")
    if end != n_file:
        raise fault(f"{path} has {n_file - end} bytes that belong to no tensor: it is damaged")
    return Header(entries, metadata)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {name!r} stands in it more than once")
    return found


def _entry(path: Path, name: str, entry: object, data_start: int, fault: Fault) -> TensorEntry:
    described = entry if isinstance(entry, Mapping) else {}
    dtype, shape, offsets = (described.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise fault(f"the header of {path} describes tensor {name!r} wrongly")
    if dtype not in _WIDTHS:
        raise fault(f"tensor {name!r} of {path} has type {dtype}, expected one of {', '.join(_WIDTHS)}")
    begin, end = offsets
    if end - begin != prod(shape) * _WIDTHS[dtype]:
        raise fault(f"tensor {name!r} of {path} does not fit its shape {list(shape)}: it is truncated or damaged")
    return TensorEntry(dtype, tuple(shape), data_start + begin, end - begin)


def _are_counts(found: object) -> TypeGuard[list[int]]:
    """Whether this is a list of whole numbers from 0 on."""
    return isinstance(found, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in found)


def as_float32(values: npt.NDArray[np.generic], dtype: str) -> npt.NDArray[np.float32]:
    """Values that were mapped as `NUMPY_DTYPES` says, as float32."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)
