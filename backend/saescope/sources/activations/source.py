"""Cached activations: a file or a folder of shards, [item, d_in] or [item, position, d_in]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.sources.activations.files import EXPECTED, SUFFIXES, Loaded, load
from saescope.sources.activations.options import ActivationOptions
from saescope.sources.activations.shards import Shards
from saescope.sources.files import all_files, listed
from saescope.sources.hashing import scan
from saescope.sources.images.image_data import LABEL
from saescope.sources.images.image_stack import BLOCK_VALUES
from saescope.sources.options import Purpose
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.sources.streams import printable
from saescope.sources.targets import SideBySide
from saescope.store.errors import DataError, OptionError
from saescope.store.format.source import ActivationDescription, SourceDescription


class ActivationSource:
    """Activations from a file. Opening one reads every value once: to hash them and to refuse what is not finite."""

    kind = "activations"

    def __init__(
        self,
        values: Shards,
        labels: pa.Array | None,
        *,
        path: str,
        format: str,
        n_shards: int | None = None,
        targets: ActivationSource | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """`targets` has as many items and positions."""
        self._targets = targets
        self._values = values
        self._labels, self._path, self._format, self._n_shards = labels, path, format, n_shards

        def blocks() -> Iterator[np.ndarray]:
            for item_ids, block in self._blocks(0, None):
                yield block.numpy()
                progress.update("reading activations", int(item_ids[-1]) + 1, self.n_items)

        self._scan = scan(
            blocks(),
            n_items=self.n_items,
            item_shape=values.shape[1:],
            value_range=None,
            subject=path,
            axes=("position", "dimension"),
        )

    @property
    def d_in(self) -> int:
        return self._values.shape[2]

    @property
    def d_target(self) -> int | None:
        """Width of a target; None where there are none."""
        return None if self._targets is None else self._targets.d_in

    @property
    def n_items(self) -> int:
        return self._values.shape[0]

    @property
    def positions_per_item(self) -> int:
        return self._values.shape[1]

    @property
    def data_sha256(self) -> str:
        return self._scan.sha256

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        """All items from `start_item` on. Batches of a float32 file share its memory map: do not write there."""
        if self._targets is None:
            for item_ids, block in self._blocks(start_item, items_per_batch):
                yield ActivationBatch(item_ids, block)
            return
        items_per_batch = self._items_per_batch if items_per_batch is None else items_per_batch
        blocks = (self._blocks(start_item, items_per_batch), self._targets._blocks(start_item, items_per_batch))
        for (item_ids, block), (_, target) in zip(*blocks, strict=True):
            yield ActivationBatch(item_ids, block, targets=target)

    @property
    def _items_per_batch(self) -> int:
        width = self.d_in + (self.d_target or 0)
        return max(1, BLOCK_VALUES // 2 // (self.positions_per_item * width))

    def _blocks(
        self, start_item: int, items_per_batch: int | None
    ) -> Iterator[tuple[Int64[np.ndarray, " item"], Float[Tensor, "item position d_in"]]]:
        """Items and their activations. The memory map's pages are let go of when the next ones are asked for."""
        if items_per_batch is None:
            items_per_batch = self._items_per_batch
        if items_per_batch < 1 or start_item < 0:
            raise OptionError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for start in range(start_item, self.n_items, items_per_batch):
            stop = min(start + items_per_batch, self.n_items)
            yield np.arange(start, stop, dtype=np.int64), self._values.read(start, stop)
            self._values.let_go(start, stop)

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        if self._targets is not None:
            return SideBySide(self._table(items), self._targets.table(items))
        return self._table(items)

    def _table(self, items: Bool[np.ndarray, " n_items"] | None) -> ActivationTable:
        if items is None:
            return _Rows(self._values, None)
        chosen = np.asarray(items)
        if chosen.dtype != np.bool_ or chosen.shape != (self.n_items,):
            raise OptionError(
                f"items is {chosen.dtype} {list(chosen.shape)}; expected one bool per item: [{self.n_items}]"
            )
        return _Rows(self._values, np.flatnonzero(chosen).astype(np.int64))

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        ids = np.asarray(item_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_items):
            raise OptionError(f"item_id outside 0 ... {self.n_items - 1}: {ids.min()} ... {ids.max()}")
        labels = pa.nulls(len(ids), pa.string()) if self._labels is None else self._labels.take(pa.array(ids))
        return pa.table({"item_id": pa.array(ids), LABEL: labels})

    def metadata(self) -> Mapping[str, Any]:
        return {} if self._labels is None else {LABEL: self._labels}

    def describe(self) -> SourceDescription:
        targets = self._targets
        return ActivationDescription(
            path=self._path,
            format=self._format,
            data_sha256=self.data_sha256,
            n_items=self.n_items,
            n_positions=self.n_items * self.positions_per_item,
            positions_per_item=self.positions_per_item,
            d_in=self.d_in,
            n_shards=self._n_shards,
            d_target=self.d_target,
            targets=None if targets is None else targets._path,
            targets_sha256=None if targets is None else targets.data_sha256,
            value_range=(self._scan.low, self._scan.high),
        )


class _Rows:
    def __init__(self, values: Shards, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._values, self._items = values, items
        self._positions = values.shape[1]
        self.n_rows = (values.shape[0] if items is None else len(items)) * self._positions
        self.d_in = values.shape[2]

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"rows {indices.min()} ... {indices.max()} of {self.n_rows}")
        if self._items is not None:
            items, positions = np.divmod(indices, self._positions)
            indices = self._items[items] * self._positions + positions
        return self._values.rows(indices)


def open_data(options: ActivationOptions, purpose: Purpose, progress: Progress = SILENT) -> ActivationSource:
    """The activations that `options.activations` names, with the targets of `options.targets`."""
    if options.targets is None:
        return _open(options, None, progress)
    targets = _open(replace(options, activations=options.targets, targets=None), None, progress)
    found = _open(options, targets, progress)
    if (found.n_items, found.positions_per_item) != (targets.n_items, targets.positions_per_item):
        raise DataError(
            f"{options.path} has {_extent(found)}, but its targets, {options.targets}, have {_extent(targets)}",
            "each item and position needs one target, in the same order",
        )
    return found


def has_splits(options: ActivationOptions) -> bool:
    """A file of activations has none."""
    return False


def _extent(source: ActivationSource) -> str:
    positions = source.positions_per_item
    return f"{source.n_items:,} items" + ("" if positions == 1 else f" of {positions:,} positions")


def _open(options: ActivationOptions, targets: ActivationSource | None, progress: Progress) -> ActivationSource:
    path = Path(options.path).expanduser()
    if options.split not in (None, "all"):
        raise OptionError(
            f"{path}: split {options.split!r} is asked for, but a file (or folder) of activations has no splits",
            "leave --split out, or name the file of that split",
        )
    if not path.exists():
        raise DataError(f"{path}: no such file", EXPECTED)
    paths = _shards_in(path, progress) if path.is_dir() else [path]
    _allow_open_files(len(paths))
    loaded = []
    for done, shard in enumerate(paths):
        loaded.append(load(shard, options))
        _check_shapes(paths[0], loaded[0], shard, loaded[-1])
        progress.update("opening shards", done + 1, len(paths))
    labels = [pa.nulls(len(f.values), pa.string()) if f.labels is None else f.labels for f in loaded]
    return ActivationSource(
        Shards([found.values for found in loaded], [found.is_bfloat16 for found in loaded]),
        None if all(found.labels is None for found in loaded) else pa.concat_arrays(labels),
        path=options.path,
        format=", ".join(dict.fromkeys(found.format for found in loaded)),
        n_shards=len(paths) if path.is_dir() else None,
        targets=targets,
        progress=progress,
    )


def _shards_in(folder: Path, progress: Progress) -> list[Path]:
    """The files of activations below a folder, in natural order (part_2 before part_10)."""
    found = all_files(folder)
    shards = [path for path in found if path.name.lower().endswith(SUFFIXES)]
    if not shards:
        names = listed([path.name for path in found], 5)
        raise DataError(f"{folder}: is a folder without activations (found {names})", EXPECTED)
    first, last = (printable(shards[i].relative_to(folder).as_posix()) for i in (0, -1))
    progress.tell(f"{folder}: {len(shards):,} shards are read as one source, from {first} to {last}")
    others = [path.name for path in found if path not in set(shards)]
    if others:
        progress.tell(f"{folder}: not read, as they hold no activations: {listed(others, 5)}")
    return shards


def _check_shapes(first: Path, loaded: Loaded, path: Path, other: Loaded) -> None:
    one, two = list(loaded.values.shape[1:]), list(other.values.shape[1:])
    if one != two:
        raise DataError(
            f"{path}: items of {two[0]} positions of width {two[1]}, but {first.name} has {one[0]} of width {one[1]}",
            "shards of one source have the same shape but for their number of items",
        )


def _allow_open_files(n: int) -> None:
    """Every mapped file is an open one: many shards need more of them than a shell allows by default."""
    try:
        import resource
    except ImportError:  # of Unix alone
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
