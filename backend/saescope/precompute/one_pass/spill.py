"""All firings of a pass on disk, for what cannot be counted in memory bounded by the number of features.

Five flat files in one folder: `features` int32 and `values` float32 per firing; `ends` int64 (firings up to and with
the row), `items` int64 and `positions` int32 per row. They are only appended to; a resumed run cuts them back to the
lengths of its saved state. Everything is read through memory maps, so it costs page cache and not memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute import kernels
from saescope.precompute.kernels.records import Postings
from saescope.store.atomic import storage_errors

_DTYPES: dict[str, np.dtype] = {
    "features": np.dtype(np.int32),
    "values": np.dtype(np.float32),
    "ends": np.dtype(np.int64),
    "items": np.dtype(np.int64),
    "positions": np.dtype(np.int32),
}


class SpillWriter:
    """Appends blocks of compressed rows below `folder`, which already holds `rows` rows with `firings` firings."""

    def __init__(self, folder: Path, rows: int = 0, firings: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = rows
        self.firings = firings
        self._files: dict[str, BufferedWriter] = {}
        for name, dtype in _DTYPES.items():
            entries = {"features": firings, "values": firings, "ends": rows + 1 if rows else 0}.get(name, rows)
            file = (folder / name).open("ab")
            file.truncate(entries * dtype.itemsize)
            self._files[name] = file
        if not rows:  # the pointer before the first row
            self._files["ends"].write(bytes(8))

    def append(self, codes: CodeRows, items: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]) -> None:
        parts: Mapping[str, np.ndarray] = {
            "features": codes.features,
            "values": codes.values,
            "ends": codes.row_ptr[1:] + self.firings,
            "items": items,
            "positions": positions,
        }
        with storage_errors("write the firings of the pass"):
            for name, array in parts.items():
                self._files[name].write(np.ascontiguousarray(array, _DTYPES[name]).data)
        self.rows += len(items)
        self.firings += len(codes.features)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        with storage_errors("write the firings of the pass"):
            for file in self._files.values():
                file.close()


@dataclass(frozen=True)
class Spill:
    """All firings of a finished pass, memory-mapped, by row."""

    folder: Path
    codes: CodeRows
    items: Int64[np.ndarray, " row"]
    positions: Int32[np.ndarray, " row"]

    @staticmethod
    def open(folder: Path) -> Spill:
        arrays = {name: _mapped(folder / name, dtype) for name, dtype in _DTYPES.items()}
        codes = CodeRows(arrays["ends"], arrays["features"], arrays["values"])
        return Spill(folder, codes, arrays["items"], arrays["positions"])

    @property
    def n_rows(self) -> int:
        return len(self.items)

    def rows_of_items(
        self, items: Int64[np.ndarray, " chosen"]
    ) -> tuple[Int64[np.ndarray, " chosen"], Int64[np.ndarray, " chosen"]]:
        """First row of each of `items`, and the one after its last (rows of an item are neighbours, items ascend)."""
        return np.searchsorted(self.items, items), np.searchsorted(self.items, items, "right")

    def postings(self, n_firing: Int64[np.ndarray, " feature"]) -> Postings:
        """The same firings by feature, rows ascending, in one more file beside the others."""
        pointers = np.zeros(len(n_firing) + 1, np.int64)
        np.cumsum(n_firing, out=pointers[1:])
        dtype = np.dtype(np.int32 if self.n_rows < 2**31 else np.int64)
        rows = np.empty(0, dtype)
        if len(self.codes.features):
            rows = np.memmap(self.folder / "rows_by_feature", dtype, mode="w+", shape=len(self.codes.features))
        kernels.transpose(self.codes, pointers[:-1].copy(), rows)
        return Postings(pointers, rows)

    def values_by_feature(self, postings: Postings) -> Float32[np.ndarray, " firing"]:
        """The activation at each of the `postings`, in one more file beside the others."""
        values = np.empty(0, np.float32)
        if len(self.codes.features):
            values = np.memmap(self.folder / "values_by_feature", np.float32, mode="w+", shape=len(self.codes.features))
        kernels.transpose_values(self.codes, postings.pointers[:-1].copy(), values)
        return values


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")
