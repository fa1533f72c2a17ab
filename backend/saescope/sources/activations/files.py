"""One file of activations: .npy and .safetensors mapped into memory, .npz, torch files, Parquet and Arrow.

Nothing is read that could run code. A table's lists are unpacked once into the cache folder, and mapped from there.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from saescope.checkpoints.tensors.content import check_tensor, load_torch
from saescope.models.cache import cache_folder
from saescope.sources.activations.options import ActivationOptions
from saescope.sources.images import arrays
from saescope.sources.images.image_data import check_labels, label_strings
from saescope.sources.mapped_files import map_array
from saescope.sources.streams import compression_of, head_of
from saescope.sources.tables.files import SUFFIXES as TABLES
from saescope.sources.tables.files import TableFile, is_table
from saescope.sources.tables.values import bare, is_list, is_plain, python_values
from saescope.store import atomic
from saescope.store.errors import CheckpointError, DataError, OptionError
from saescope.store.format.hashing import file_sha256
from saescope.store.format.safetensors import NUMPY_DTYPES, TensorEntry, looks_like_safetensors, read_header

TORCH = (".pt", ".pth")
SUFFIXES = (".npy", ".npz", ".safetensors", *TORCH, *TABLES)
EXPECTED = (
    "expected an array of activations, [item, d_in] or [item, position, d_in], in .npy, .npz, .safetensors, a torch "
    "file (.pt), Parquet or Arrow, or a folder of such shards"
)
_NAMES = ("activations", "acts", "activation", "hidden_states", "x", "data", "arr_0")
_LABEL_NAMES = ("labels", "label", "y", "targets")
_ROWS = 4096


class Loaded(NamedTuple):
    """What a file holds."""

    values: np.ndarray
    """[item, position, d_in]."""
    labels: pa.Array | None
    format: str
    is_bfloat16: bool = False
    """NumPy has no bfloat16: `values` then holds its bits as uint16."""


def load(path: Path, options: ActivationOptions) -> Loaded:
    """The activations of a file and their labels. `DataError` for all that cannot be read, or is of another shape."""
    values, labels, format, is_bfloat16 = _load(path, options)
    if values.ndim not in (2, 3):
        raise DataError(f"{path}: shape {list(values.shape)}", EXPECTED)
    if 0 in values.shape:
        raise DataError(f"{path}: holds no activations (shape {list(values.shape)})", EXPECTED)
    if isinstance(labels, np.ndarray):
        labels = label_strings(labels, str(path))
    check_labels(labels, len(values), str(path), "item")
    return Loaded(values[:, None] if values.ndim == 2 else values, labels, format, is_bfloat16)


def _load(path: Path, options: ActivationOptions) -> tuple[np.ndarray, Any, str, bool]:
    head = head_of(path, 10)
    suffix = path.suffix.lower()
    if not head:
        raise DataError(f"{path} is empty", EXPECTED)
    if head.startswith(arrays.NPY_MAGIC) or suffix == ".npy":
        for name in ("data_key", "label_key"):
            if getattr(options, name) is not None:
                raise OptionError(f"{name} is given, but {path} holds a single array", f"leave {name} out")
        return _native(arrays.load_npy(path), path), None, "npy", False
    if suffix in TORCH or head.startswith(b"\x80") or (head.startswith(b"PK\x03\x04") and _is_torch(path)):
        return _load_torch(path, options)
    if head.startswith(b"PK\x03\x04") or suffix == ".npz":
        names = arrays.npz_names(path)
        name = _chosen([n for n in names if n not in _LABEL_NAMES], options.data_key, path)
        label = _label_name(names, options.label_key, path)
        labels = None if label is None else arrays.read_npz(path, label)[0]
        return _native(arrays.read_npz(path, name)[0], path), labels, "npz", False
    if suffix == ".safetensors" or looks_like_safetensors(head):
        return _load_safetensors(path, options)
    if is_table(path, head):
        return _load_table(TableFile(path), options)
    if (compression := compression_of(head)) is not None:
        raise DataError(f"{path}: is compressed by {compression}", "unpack it first: activations are read in place")
    raise DataError(f"{path}: not a known file of activations (it starts with bytes {head[:8].hex(' ')})", EXPECTED)


# -- safetensors


def _load_safetensors(path: Path, options: ActivationOptions) -> tuple[np.ndarray, Any, str, bool]:
    tensors = read_header(
        path,
        lambda message: DataError(
            f"{path}: not a whole .safetensors file ({message})", "it may be truncated: write or copy it again"
        ),
    ).tensors
    name = _chosen([name for name, entry in tensors.items() if len(entry.shape) in (2, 3)], options.data_key, path)
    label = _label_name(list(tensors), options.label_key, path)
    labels = None if label is None else _map_tensor(path, label, tensors[label])
    return _map_tensor(path, name, tensors[name]), labels, "safetensors", tensors[name].dtype == "BF16"


def _map_tensor(path: Path, name: str, entry: TensorEntry) -> np.ndarray:
    dtype = NUMPY_DTYPES.get(entry.dtype)
    if dtype is None:
        raise DataError(f"{path}: tensor {name!r} is {entry.dtype}; expected one of {', '.join(NUMPY_DTYPES)}")
    if 0 in entry.shape:
        return np.zeros(entry.shape, dtype)
    return map_array(path, np.dtype(dtype), entry.shape, entry.start)


# -- torch


def _is_torch(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return False


def _load_torch(path: Path, options: ActivationOptions) -> tuple[np.ndarray, Any, str, bool]:
    try:
        tensors = dict(_tensors(load_torch(path, path)))
        name = _chosen([n for n, t in tensors.items() if t.ndim in (2, 3)] or list(tensors), options.data_key, path)
        label = _label_name(list(tensors), options.label_key, path)
        for chosen in (name, label):
            if chosen is not None:
                check_tensor(path, chosen, tensors[chosen])
    except CheckpointError as error:
        hint = "write it again as numbers: torch.save(tensor.to_dense(), PATH), or numpy.save(PATH, tensor.numpy())"
        raise DataError(error.message, hint) from None
    values = tensors[name].detach().resolve_neg().contiguous()
    labels = None if label is None else tensors[label].detach().resolve_neg().numpy()
    if values.dtype == torch.bfloat16:
        return values.view(torch.uint16).numpy(), labels, "torch", True
    return _native(values.numpy(), path), labels, "torch", False


def _tensors(found: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors by name: keys and indices on the way to them, joined by dots. A list of batches is one tensor."""
    if isinstance(found, Tensor):
        yield name or "x", found
    elif isinstance(found, list) and len(found) > 1 and _are_batches(found):
        yield name or "x", torch.stack(found) if found[0].ndim == 1 else torch.cat(found)
    elif isinstance(found, Mapping | list | tuple):
        entries = found.items() if isinstance(found, Mapping) else enumerate(found)
        for key, value in entries:
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _are_batches(found: list[Any]) -> bool:
    if not all(isinstance(t, Tensor) and t.layout == torch.strided and t.ndim in (1, 2, 3) for t in found):
        return False
    skipped = 0 if found[0].ndim == 1 else 1
    return len({(t.ndim, t.dtype, t.shape[skipped:]) for t in found}) == 1


# -- tables


def _load_table(table: TableFile, options: ActivationOptions) -> tuple[np.ndarray, Any, str, bool]:
    path, schema = table.path, table.schema
    lists = [field.name for field in schema if _is_vector(field.type)]
    name = _chosen([n for n in lists if n not in _LABEL_NAMES], options.data_key, path)
    plain = [field.name for field in schema if is_plain(field.type)]
    label = _label_name(plain, options.label_key, path)
    labels = None
    if label is not None:
        found = [v for batch in table.batches([label], _ROWS) for v in python_values(batch.column(0))]
        known = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in found]
        labels = pa.array([None if v is None else str(v) for v in known], pa.string())
    return _native(_unpacked(table, name), path), labels, table.format, False


def _is_vector(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if not is_list(kind):
        return False
    inner = bare(kind.value_type)
    return pa.types.is_floating(inner) or pa.types.is_integer(inner) or _is_vector(inner)


def _unpacked(table: TableFile, column: str) -> np.ndarray:
    """A column of lists as an array, from the cache folder, where it is written first if it is not there."""
    what = f"{file_sha256(table.path)} {column} {table.schema.field(column).type}"
    digest = hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()
    path = cache_folder() / "unpacked" / f"{digest[:32]}.npy"
    if not path.exists():
        atomic.make_folder(path.parent)
        with atomic.replacing(path) as temporary:
            _unpack(table, column, temporary)
    return arrays.load_npy(path)


def _unpack(table: TableFile, column: str, path: Path) -> None:
    written: np.ndarray | None = None
    done = 0
    for batch in table.batches([column], _ROWS):
        block = _dense(batch.column(0), table.path, column, done)
        if written is None:
            shape = (table.n_rows, *block.shape[1:])
            written = np.lib.format.open_memmap(path, "w+", block.dtype, shape)
        elif block.shape[1:] != written.shape[1:]:
            _refuse_lengths(table.path, column, done)
        written[done : done + len(block)] = block
        done += len(block)
    if written is None:
        raise DataError(f"{table.path}: holds no rows", EXPECTED)
    written.flush()  # type: ignore[attr-defined]


def _dense(values: pa.Array, path: Path, column: str, first: int) -> np.ndarray:
    """Rows of lists of one length (and of lists of such) as an array."""
    shape = [len(values)]
    if isinstance(values, pa.FixedShapeTensorArray):
        if values.null_count:
            _refuse_lengths(path, column, first)
        return np.asarray(values.to_numpy_ndarray())
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    while is_list(values.type):
        lengths = pc.list_value_length(values)
        least, most = pc.min(lengths).as_py(), pc.max(lengths).as_py()
        if values.null_count or least != most:
            _refuse_lengths(path, column, first)
        shape.append(int(most or 0))
        values = values.flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)


def _refuse_lengths(path: Path, column: str, first: int) -> None:
    raise DataError(
        f"{path}: column {column!r} holds lists of unequal length, or nulls, in the rows from {first:,} on",
        "each row needs one vector (or one list of vectors) of the same size",
    )


# -- arrays


def _native(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: dtype {array.dtype}; expected floating-point activations", EXPECTED)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if (native.dtype.kind == "u" and native.dtype.itemsize > 1) or native.dtype.itemsize > 8:
        native = native.astype(np.float64)
    return np.ascontiguousarray(native)


def _chosen(names: Sequence[str], wanted: str | None, path: Path) -> str:
    listed = ", ".join(names) or "none"
    if wanted is not None:
        if wanted not in names:
            raise DataError(f"{path}: no array {wanted!r} of activations; it holds: {listed}")
        return wanted
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    found = next((last[n] for n in _NAMES if n in last), None) or (names[0] if len(names) == 1 else None)
    if found is None:
        raise DataError(f"{path}: cannot tell which array holds the activations: {listed}", "name it with --data-key")
    return found


def _label_name(names: Sequence[str], wanted: str | None, path: Path) -> str | None:
    if wanted is not None and wanted not in names:
        raise DataError(f"{path}: no array {wanted!r} of labels; it holds: {', '.join(names)}")
    return wanted or next((n for n in _LABEL_NAMES if n in names), None)
