"""Activations on disk, made once: what a model costs is paid once for all epochs, runs and builds.

CACHE/activations/KEY/00000.bin       a shard: activations of evaluated positions, [row, d_in], float32 or float16
CACHE/activations/KEY/00000.npz       its numbers: rows of each item, positions left out for their norm
CACHE/activations/KEY/complete.json   written when all shards are there

A shard holds a fixed number of windows and is there when its .npz is; a killed run goes on after the last whole shard.
KEY is a hash of all that decides the activations.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.progress import Progress
from saescope.sources.hooked.options import CacheDType
from saescope.sources.hooked.windows import ItemReader, Windows
from saescope.sources.mapped_files import let_go, map_array
from saescope.store import atomic
from saescope.store.errors import DataError, StorageError

SHARD_VALUES = 1 << 23
"""Values of a shard, about: 32 MiB in float32."""
VERSION = 1
STALE_SECONDS = 3600.0
"""Nobody is writing a temporary file any more that has not changed for so long."""

ReadWindow = Callable[[int], tuple[Float[Tensor, "item position d_in"], Bool[np.ndarray, "item position"]]]
"""Activations of a window, and the positions that count."""


class ActivationCache:
    """The activations of one source's evaluated positions. All but `fill` need it to be `complete`."""

    def __init__(self, folder: Path, reader: ItemReader, windows: Windows, d_in: int, dtype: CacheDType) -> None:
        self.folder, self._reader, self._windows, self._d_in = folder, reader, windows, d_in
        self._dtype = np.dtype("<f2" if dtype == "float16" else "<f4")
        positions = windows.size * reader.positions_per_item
        self._per_shard = max(1, SHARD_VALUES // (positions * d_in))
        self._n_shards = -(-len(windows) // self._per_shard)

    @property
    def complete(self) -> bool:
        return (self.folder / "complete.json").exists()

    def fill(self, read: ReadWindow, n_positions: int, progress: Progress) -> None:
        """Computes the shards that are missing; `n_positions` is about how many positions there are in all.

        Raises `UserError` where they do not fit on the disk.
        """
        if self.complete:
            return
        atomic.make_folder(self.folder)
        self._remove_leftovers()
        missing = [shard for shard in range(self._n_shards) if not self._numbers(shard).exists()]
        n_items = self._reader.n_items
        self._check_space(n_positions * len(missing) // max(1, self._n_shards))
        done = n_items - sum(len(self._items(shard)) for shard in missing)
        for shard in missing:
            parts: list[np.ndarray] = []
            counts: list[np.ndarray] = []
            dropped: list[np.ndarray] = []
            for window in self._windows_of(shard):
                progress.update("caching activations", done, n_items)
                activations, mask = read(window)
                parts.append(self._stored(activations[torch.from_numpy(mask).to(activations.device)], window))
                counts.append(mask.sum(axis=1))
                items = self._windows.items(window)
                item, position = np.nonzero(self._reader.evaluated(items) & ~mask)
                dropped.append(np.stack([items[item], position], axis=1))
                done += len(items)
                progress.update("caching activations", done, n_items)
            self._write(shard, parts, np.concatenate(counts), np.concatenate(dropped))
        about = {"version": VERSION, "n_shards": self._n_shards, "n_items": n_items}
        atomic.write_text(self.folder / "complete.json", json.dumps(about))

    def batch(
        self, items: Int64[np.ndarray, " item"]
    ) -> tuple[Float[Tensor, "item position d_in"], Bool[np.ndarray, "item position"]]:
        """Activations of a run of items and the positions that count; the others are 0."""
        mask = self.mask(items)
        out = torch.zeros(*mask.shape, self._d_in)
        first, last = int(self.starts[items[0]]), int(self.starts[items[-1] + 1])
        if last > first:
            out[torch.from_numpy(mask)] = self._run(first, last)
        return out, mask

    def mask(self, items: Int64[np.ndarray, " item"]) -> Bool[np.ndarray, "item position"]:
        """The positions of a run of items that count."""
        mask = self._reader.evaluated(items)
        outliers = self.outliers
        begin, end = np.searchsorted(outliers[:, 0], [items[0], items[-1] + 1])
        mask[outliers[begin:end, 0] - items[0], outliers[begin:end, 1]] = False
        return mask

    def rows(self, rows: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        """Any rows, counted over all items."""
        out = np.empty((len(rows), self._d_in), dtype=np.float32)
        shard = np.searchsorted(self._shard_starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        borders = np.flatnonzero(np.diff(shard[order], prepend=-1, append=-1))
        for begin, end in itertools.pairwise(borders):
            chosen = order[begin:end]
            number = int(shard[chosen[0]])
            out[chosen] = self._maps[number][rows[chosen] - self._shard_starts[number]]
        return torch.from_numpy(out)

    @cached_property
    def starts(self) -> Int64[np.ndarray, " n_items+1"]:
        """Row at which each item begins, and the number of rows."""
        counts = np.concatenate([self._load(shard)["counts"] for shard in range(self._n_shards)])
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    @cached_property
    def outliers(self) -> Int64[np.ndarray, "position 2"]:
        """Item and position of what was left out for its norm, in order."""
        return np.concatenate([self._load(shard)["outliers"] for shard in range(self._n_shards)])

    @cached_property
    def _shard_starts(self) -> Int64[np.ndarray, " shard"]:
        firsts = [self._items(shard)[0] for shard in range(self._n_shards)]
        return self.starts[firsts]

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        ends = np.append(self._shard_starts[1:], self.starts[-1])
        sizes = ends - self._shard_starts
        return [
            map_array(self._values(shard), self._dtype, (int(size), self._d_in), 0)
            if size
            else np.empty((0, self._d_in), self._dtype)
            for shard, size in enumerate(sizes)
        ]

    def _run(self, first: int, last: int) -> Float[Tensor, "row d_in"]:
        """Rows in order; their pages are let go of."""
        parts = []
        shard = int(np.searchsorted(self._shard_starts, first, side="right")) - 1
        while first < last:
            rows = self._maps[shard]
            begin = first - int(self._shard_starts[shard])
            part = rows[begin : begin + last - first]
            parts.append(torch.from_numpy(part.astype(np.float32)))
            let_go(part)
            first += len(part)
            shard += 1
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _windows_of(self, shard: int) -> range:
        first = shard * self._per_shard
        return range(first, min(first + self._per_shard, len(self._windows)))

    def _items(self, shard: int) -> range:
        windows = self._windows_of(shard)
        return range(int(self._windows.items(windows[0])[0]), int(self._windows.items(windows[-1])[-1]) + 1)

    def _values(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.bin"

    def _numbers(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.npz"

    def _load(self, shard: int) -> dict[str, np.ndarray]:
        with np.load(self._numbers(shard), allow_pickle=False) as saved:
            return dict(saved)

    def _stored(self, rows: Float[Tensor, "row d_in"], window: int) -> np.ndarray:
        values = rows.cpu().numpy()
        with np.errstate(over="ignore"):
            stored = values.astype(self._dtype)
        if self._dtype.itemsize == 2 and not np.isfinite(stored).all() and np.isfinite(values).all():
            raise DataError(
                f"activations from item {self._windows.items(window)[0]} on reach {np.abs(values).max():.3g}, beyond "
                "float16's 65,504",
                "leave --cache-dtype out",
            )
        return stored

    def _write(self, shard: int, parts: list[np.ndarray], counts: np.ndarray, outliers: np.ndarray) -> None:
        with atomic.replacing(self._values(shard)) as temporary, temporary.open("wb") as file:
            for part in parts:
                file.write(part.data.cast("B") if part.size else b"")
        with atomic.replacing(self._numbers(shard)) as temporary, temporary.open("wb") as file:
            np.savez(file, counts=counts.astype(np.int32), outliers=outliers.astype(np.int64))

    def _remove_leftovers(self) -> None:
        """Removes what killed runs left half-written; another process may be writing what is fresh."""
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if atomic.is_temporary(path) and time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()

    def _check_space(self, n_positions: int) -> None:
        needed = n_positions * self._d_in * self._dtype.itemsize
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise StorageError(
                f"the activations take {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free in {self.folder}",
                "set SAESCOPE_CACHE to a folder on a larger disk, or give --cache-dtype float16 or --cache off",
            )
