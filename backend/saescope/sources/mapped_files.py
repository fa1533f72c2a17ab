"""Arrays that lie in files: mapped into memory, and let go of once read.

Pages of a mapped file that were read count as this program's memory until the system wants them back. A pass over a
large file lets go of each block after it, so that its memory does not grow with the file.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np


def map_array(path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> np.ndarray:
    """Values at byte `offset` of a file. Copy-on-write: what is written to the array never reaches the file."""
    return np.memmap(path, dtype=dtype, mode="c", offset=offset, shape=shape).view(np.ndarray)


def let_go(rows: np.ndarray) -> None:
    """Drop the pages of `rows`, a slice of an array, if they come from a mapped file; reading them again is fine.

    Changes made to them in memory are lost. Arrays that are not mapped are left alone.
    """
    owner = _map_under(rows)
    if owner is None or rows.size == 0 or not hasattr(mmap, "MADV_DONTNEED"):
        return
    first, last = np.lib.array_utils.byte_bounds(rows)
    base = np.frombuffer(owner, dtype=np.uint8).ctypes.data
    # Whole pages inside the slice; its ends may be shared with the neighbours.
    start = -(-(first - base) // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (last - base) // mmap.PAGESIZE * mmap.PAGESIZE
    if stop > start:
        owner.madvise(mmap.MADV_DONTNEED, start, stop - start)


def _map_under(array: np.ndarray) -> mmap.mmap | None:
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
