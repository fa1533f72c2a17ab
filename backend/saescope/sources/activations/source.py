"""Cached activations: .npy (memory-mapped), .npz and .safetensors, [item, d_in] or [item, position, d_in]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.sources.hashing import scan
from saescope.sources.images import arrays
from saescope.sources.images.image_data import LABEL, check_labels, label_strings
from saescope.sources.images.image_stack import BLOCK_VALUES
from saescope.sources.mapped import let_go, map_array
from saescope.sources.options import SourceOptions
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.sources.streams import head_of
from saescope.sources.targets import SideBySide
from saescope.store.errors import UserError
from saescope.store.format.safetensors import NUMPY_DTYPES, TensorEntry, looks_like_safetensors, read_header
from saescope.store.format.source import ActivationDescription

_EXPECTED = "expected an array of activations, [item, d_in] or [item, position, d_in], in .npy, .npz or .safetensors"
_NAMES = ("activations", "acts", "activation", "hidden_states", "x", "data", "arr_0")
_LABEL_NAMES = ("labels", "label", "y", "targets")


class _Loaded(NamedTuple):
    values: np.ndarray
    labels: np.ndarray | None
    format: str
    is_bfloat16: bool = False
    """NumPy has no bfloat16: `values` then holds its bits as uint16."""


class ActivationSource:
    """Activations from a file. Opening one reads every value once: to hash them and to refuse what is not finite."""

    kind = "activations"

    def __init__(
        self,
        values: np.ndarray,
        labels: pa.Array | None,
        *,
        path: str,
        format: str,
        is_bfloat16: bool = False,
        targets: ActivationSource | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """`targets` has as many items and positions."""
        self._targets = targets
        self._array = values  # [item, position, d_in]
        tensor = torch.from_numpy(values)
        self._values = tensor.view(torch.bfloat16) if is_bfloat16 else tensor
        self._labels, self._path, self._format = labels, path, format

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
            raise UserError(f"start_item {start_item}, items_per_batch {items_per_batch}; expected >= 0 and >= 1")
        for start in range(start_item, self.n_items, items_per_batch):
            stop = min(start + items_per_batch, self.n_items)
            block = self._values[start:stop].to(torch.float32).contiguous()
            yield np.arange(start, stop, dtype=np.int64), block
            let_go(self._array[start:stop])

    def table(self, items: Bool[np.ndarray, " n_items"] | None = None) -> ActivationTable:
        if self._targets is not None:
            return SideBySide(self._table(items), self._targets.table(items))
        return self._table(items)

    def _table(self, items: Bool[np.ndarray, " n_items"] | None) -> ActivationTable:
        if items is None:
            return _Rows(self._values, None)
        chosen = np.asarray(items)
        if chosen.dtype != np.bool_ or chosen.shape != (self.n_items,):
            raise UserError(
                f"items is {chosen.dtype} {list(chosen.shape)}; expected one bool per item: [{self.n_items}]"
            )
        return _Rows(self._values, np.flatnonzero(chosen).astype(np.int64))

    def item_table(self, item_ids: Int64[np.ndarray, " item"]) -> pa.Table:
        ids = np.asarray(item_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.n_items):
            raise UserError(f"item_id outside 0 ... {self.n_items - 1}: {ids.min()} ... {ids.max()}")
        labels = pa.nulls(len(ids), pa.string()) if self._labels is None else self._labels.take(pa.array(ids))
        return pa.table({"item_id": pa.array(ids), LABEL: labels})

    def metadata(self) -> Mapping[str, Any]:
        return {} if self._labels is None else {LABEL: self._labels}

    def describe(self) -> ActivationDescription:
        targets = self._targets
        return ActivationDescription(
            path=self._path,
            format=self._format,
            data_sha256=self.data_sha256,
            n_items=self.n_items,
            n_positions=self.n_items * self.positions_per_item,
            positions_per_item=self.positions_per_item,
            d_in=self.d_in,
            d_target=self.d_target,
            targets=None if targets is None else targets._path,
            targets_sha256=None if targets is None else targets.data_sha256,
            value_range=(self._scan.low, self._scan.high),
        )


class _Rows:
    def __init__(self, values: Tensor, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._flat = values.reshape(-1, values.shape[2])
        self._positions, self._items = values.shape[1], items
        self.n_rows = len(self._flat) if items is None else len(items) * self._positions
        self.d_in = values.shape[2]

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.n_rows):
            raise IndexError(f"rows {indices.min()} ... {indices.max()} of {self.n_rows}")
        if self._items is not None:
            items, positions = np.divmod(indices, self._positions)
            indices = self._items[items] * self._positions + positions
        return self._flat.index_select(0, torch.from_numpy(indices)).to(torch.float32)


def open_activations(options: SourceOptions, progress: Progress = SILENT) -> ActivationSource:
    """The activations that `options.activations` names, with the targets of `options.targets`."""
    if options.targets is None:
        return _open(options, None, progress)
    targets = _open(replace(options, activations=options.targets, targets=None), None, progress)
    found = _open(options, targets, progress)
    if (found.n_items, found.positions_per_item) != (targets.n_items, targets.positions_per_item):
        raise UserError(
            f"{options.path} has {_extent(found)}, but its targets, {options.targets}, have {_extent(targets)}",
            "each item and position needs one target, in the same order",
        )
    return found


def _extent(source: ActivationSource) -> str:
    positions = source.positions_per_item
    return f"{source.n_items:,} items" + ("" if positions == 1 else f" of {positions:,} positions")


def _open(options: SourceOptions, targets: ActivationSource | None, progress: Progress) -> ActivationSource:
    path = Path(options.path).expanduser()
    if options.split in ("train", "test"):
        raise UserError(
            f"{path}: split {options.split!r} is asked for, but a file of activations has no splits",
            "leave --split out, or name the file of that split",
        )
    if path.is_dir():
        raise UserError(f"{path}: is a folder", _EXPECTED)
    if not path.exists():
        raise UserError(f"{path}: no such file", _EXPECTED)
    loaded = _load(path, options)
    values = loaded.values
    if values.ndim not in (2, 3):
        raise UserError(f"{path}: shape {list(values.shape)}", _EXPECTED)
    if 0 in values.shape:
        raise UserError(f"{path}: holds no activations (shape {list(values.shape)})", _EXPECTED)
    labels = None
    if loaded.labels is not None:
        labels = label_strings(loaded.labels, str(path))
        check_labels(labels, len(values), str(path), "item")
    shaped = values[:, None] if values.ndim == 2 else values
    return ActivationSource(
        shaped,
        labels,
        path=options.path,
        format=loaded.format,
        is_bfloat16=loaded.is_bfloat16,
        targets=targets,
        progress=progress,
    )


def _load(path: Path, options: SourceOptions) -> _Loaded:
    head = head_of(path, 10)
    if not head:
        raise UserError(f"{path} is empty", _EXPECTED)
    if head.startswith(arrays.NPY_MAGIC) or path.suffix.lower() == ".npy":
        for name in ("data_key", "label_key"):
            if getattr(options, name) is not None:
                raise UserError(f"{name} is given, but {path} holds a single array", f"leave {name} out")
        return _Loaded(_native(arrays.load_npy(path), path), None, "npy")
    if head.startswith(b"PK\x03\x04") or path.suffix.lower() == ".npz":
        names = arrays.npz_names(path)
        name = _chosen([n for n in names if n not in _LABEL_NAMES], options.data_key, path)
        label = _label_name(names, options.label_key, path)
        labels = None if label is None else arrays.read_npz(path, label)[0]
        return _Loaded(_native(arrays.read_npz(path, name)[0], path), labels, "npz")
    if path.suffix.lower() == ".safetensors" or looks_like_safetensors(head):
        return _load_safetensors(path, options)
    raise UserError(f"{path}: not a known file of activations (it starts with bytes {head[:8].hex(' ')})", _EXPECTED)


def _load_safetensors(path: Path, options: SourceOptions) -> _Loaded:
    tensors = read_header(
        path,
        lambda message: UserError(
            f"{path}: not a whole .safetensors file ({message})", "it may be truncated: write or copy it again"
        ),
    ).tensors
    name = _chosen([name for name, entry in tensors.items() if len(entry.shape) in (2, 3)], options.data_key, path)
    label = _label_name(list(tensors), options.label_key, path)
    labels = None if label is None else _map_tensor(path, label, tensors[label])
    return _Loaded(_map_tensor(path, name, tensors[name]), labels, "safetensors", tensors[name].dtype == "BF16")


def _map_tensor(path: Path, name: str, entry: TensorEntry) -> np.ndarray:
    dtype = NUMPY_DTYPES.get(entry.dtype)
    if dtype is None:
        raise UserError(f"{path}: tensor {name!r} is {entry.dtype}; expected one of {', '.join(NUMPY_DTYPES)}")
    if 0 in entry.shape:
        return np.zeros(entry.shape, dtype)
    return map_array(path, np.dtype(dtype), entry.shape, entry.start)


def _native(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise UserError(f"{path}: dtype {array.dtype}; expected floating-point activations", _EXPECTED)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if (native.dtype.kind == "u" and native.dtype.itemsize > 1) or native.dtype.itemsize > 8:
        native = native.astype(np.float64)
    return np.ascontiguousarray(native)


def _chosen(names: Sequence[str], wanted: str | None, path: Path) -> str:
    listed = ", ".join(names) or "none"
    if wanted is not None:
        if wanted not in names:
            raise UserError(f"{path}: no array {wanted!r} of activations; it holds: {listed}")
        return wanted
    found = next((n for n in _NAMES if n in names), None) or (names[0] if len(names) == 1 else None)
    if found is None:
        raise UserError(f"{path}: cannot tell which array holds the activations: {listed}", "name it with --data-key")
    return found


def _label_name(names: Sequence[str], wanted: str | None, path: Path) -> str | None:
    if wanted is not None and wanted not in names:
        raise UserError(f"{path}: no array {wanted!r} of labels; it holds: {', '.join(names)}")
    return wanted or next((n for n in _LABEL_NAMES if n in names), None)
