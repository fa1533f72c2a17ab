"""Reading weights files without executing code: safetensors, torch archives, NumPy archives, and JSON beside them.

Sizes are checked before anything large is made: a file's header may not declare more than the file holds, and a
compressed archive may not grow without bounds. A pickle that names any class or function beyond tensors and plain
containers is refused, with the way to turn it into a file that can be read.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saescope.store.errors import CheckpointError
from saescope.store.format.safetensors import SUFFIX, looks_like_safetensors, read_header

MAX_ELEMENTS = 2**36
"""No tensor of a sane SAE is larger (256 GB in float32): a larger size in a header is a fault, not a wish."""
MAX_JSON_BYTES = 2**24
"""No config is larger."""
MAX_YAML_BYTES = 2**18
"""YAML takes long to parse."""
MAX_DEPTH = 100
"""No config nests more deeply."""
MAX_GROWTH = 100
"""A compressed archive may unpack to this many times its size, if that is over `SMALL_BYTES`: weights hardly shrink."""
SMALL_BYTES = 2**28
WRAPPERS = ("sae", "state_dict", "model", "model_state_dict", "autoencoder")
"""Keys under which a file may hold its tensors one level down."""

_DAMAGED = "it is damaged or half-written: save or download it again"
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


@dataclass(frozen=True)
class Content:
    """What a weights file holds."""

    tensors: dict[str, Tensor]
    """By name, as stored: on the CPU, of any floating or integer type, perhaps mapped from the file."""
    values: dict[str, Any] = field(default_factory=dict)
    """What else stands beside them: text, numbers, plain containers."""


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. `CheckpointError` where it is missing, too large, or no object."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes, too many for a config")
        found = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}", _DAMAGED) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a JSON {type(found).__name__}, not an object")
    return found


def parse_json(data: bytes) -> Any:
    """What JSON stands for, Python's NaN and infinities allowed. `ValueError` where it is none, or nests too deeply."""
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    level, depth = [found], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError("it nests too deeply")
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level, depth = [value for values in inner for value in values], depth + 1
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, which makes nothing but plain values. `CheckpointError` where it is none."""
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes, too many for a config")
        found = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {_first_line(error)}", _DAMAGED) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a YAML {type(found).__name__}, not a mapping")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} holds what JSON cannot say: {_first_line(error)}") from None
    return plain


def read_weights(path: Path, is_part: bool = False) -> Content:
    """The content of a weights file, told by its first bytes. `CheckpointError` for all that cannot be read safely.

    Tensors lose what a wrapper put before all their names, except in a part of a checkpoint, which need not hold all.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    if not start:
        raise CheckpointError(f"{path} is empty", _DAMAGED)
    if path.suffix == SUFFIX:
        return read_safetensors(path)
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"cannot read {path}: {error}", _DAMAGED) from None
        if names and all(name.endswith(".npy") for name in names):
            return read_npz(path)
        return read_torch(path, path, is_part)
    if start[:1] == b"\x80":
        return read_torch(path, path, is_part)
    if start[:2] == b"\x1f\x8b":
        raise CheckpointError(f"{path} is compressed with gzip", "unpack it first (gunzip) and give the unpacked file")
    if looks_like_safetensors(start):
        return read_safetensors(path)
    raise CheckpointError(
        f"{path} is no weights file that can be read", "expected .safetensors, a torch .pt or .pth file, or .npz"
    )


def read_safetensors(path: Path) -> Content:
    """The tensors of a safetensors file, mapped from it."""
    for name, entry in read_header(path, damaged).tensors.items():
        _check_size(path, name, entry.shape)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return Content({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise damaged(f"cannot read {path}: {error}") from None


def damaged(message: str) -> CheckpointError:
    """What is said of a file that is not whole."""
    return CheckpointError(message, _DAMAGED)


def read_npz(path: Path) -> Content:
    """The arrays of an .npz archive, each checked in its own header before it is made."""
    tensors: dict[str, Tensor] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_growth(path, archive)
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    shape, dtype, n_header = _npy_header(file)
                if dtype.hasobject:
                    raise CheckpointError(f"{path}: array {name!r} holds Python objects, which could run code")
                if dtype.kind not in "fiu":
                    raise CheckpointError(f"{path}: array {name!r} has type {dtype}, expected numbers")
                _check_size(path, name, shape)
                if n_header + int(np.prod(shape, dtype=object)) * dtype.itemsize != member.file_size:
                    raise CheckpointError(
                        f"{path}: array {name!r} does not fit its declared shape {list(shape)}", _DAMAGED
                    )
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                native = array.dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.int64)
                tensors[name] = torch.from_numpy(np.ascontiguousarray(array.astype(native, copy=False)))
    except CheckpointError:
        raise
    except Exception as error:  # damaged archives fail in every way there is: zipfile, zlib, tokenize, NumPy
        raise CheckpointError(f"cannot read {path}: {_first_line(error)}", _DAMAGED) from None
    return Content(tensors)


def read_torch(source: Path | BinaryIO, path: Path, is_part: bool = False) -> Content:
    """The tensors that `torch.save` wrote. `source` is the file at `path` or a part."""
    return _content(path, load_torch(source, path), is_part)


def load_torch(source: Path | BinaryIO, path: Path) -> Any:
    """What `torch.save` wrote, through torch's restricted unpickler; tensors of a zip archive are mapped from it."""
    if isinstance(source, Path) and zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                _check_growth(path, archive)
                if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                    raise CheckpointError(
                        f"{path} is a TorchScript archive: it holds a program, not a state dict", _rewrite()
                    )
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(f"cannot read {path}: {error}", _DAMAGED) from None
        mapped = True
    else:
        mapped = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a pickle is of another protocol than torch's own
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from None
    except Exception as error:  # damaged pickles fail in every way there is, and none of them says more than that
        raise CheckpointError(f"cannot read {path}: {_first_line(error)}", _DAMAGED) from None


def read_torch_bytes(data: bytes, path: Path) -> Content:
    """`read_torch` of what stands in memory."""
    return read_torch(io.BytesIO(data), path)


def _content(path: Path, found: Any, is_part: bool) -> Content:
    if isinstance(found, Tensor):
        raise CheckpointError(f"{path} holds a single tensor, not the weights of an SAE", "save its state_dict()")
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path} holds a {type(found).__name__}, not the weights of an SAE", "save its state_dict()"
        )
    outer: dict[str, Any] = {}
    for wrapper in WRAPPERS:
        inner = found.get(wrapper)
        if isinstance(inner, dict) and any(isinstance(v, Tensor) for v in inner.values()):
            outer = {str(key): value for key, value in found.items() if key != wrapper}
            found = inner
            break
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    others = {str(key): value for key, value in found.items() if not isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        check_tensor(path, name, tensor)
    return Content(tensors if is_part else without_prefix(tensors), {**outer, **others})


def check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """`CheckpointError` where a tensor is no plain array of numbers that the file holds in full."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise CheckpointError(f"{path}: tensor {name!r} is sparse, quantised or without data; expected plain numbers")
    if tensor.dtype not in (*_FLOATS, *_INTEGERS):
        raise CheckpointError(f"{path}: tensor {name!r} has type {tensor.dtype}, expected floating point numbers")
    _check_size(path, name, tensor.shape)
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{path}: tensor {name!r} has shape {list(tensor.shape)}, but the file holds only "
            f"{tensor.untyped_storage().nbytes()} bytes of it",
            _DAMAGED,
        )


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers of a module put before all of them."""
    for prefix in ("module.", "_orig_mod.", "sae.", "autoencoder.", "model."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            return without_prefix({name.removeprefix(prefix): t for name, t in tensors.items()})
    return tensors


def _check_size(path: Path, name: str, shape: Any) -> None:
    n = 1
    for size in shape:
        n *= int(size)
    if n > MAX_ELEMENTS:
        raise CheckpointError(f"{path}: tensor {name!r} declares {n} elements, more than {MAX_ELEMENTS}", _DAMAGED)


def _check_growth(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to far more than it is."""
    packed = path.stat().st_size
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(SMALL_BYTES, MAX_GROWTH * packed):
        raise CheckpointError(
            f"{path} has {packed} bytes but unpacks to {unpacked}: no weights shrink so much",
            "get the file from a source that you trust",
        )


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    return shape, dtype, file.tell()


def _refused(path: Path, error: Exception) -> CheckpointError:
    """Why the restricted unpickler stopped: a name that would be code, or damage."""
    named = re.search(r"(?:GLOBAL|class|global) ([\w.]+(?:\.[\w<>]+)+)", str(error))
    if named is None and "Unsupported operand" in str(error):
        return CheckpointError(
            f"{path} is a pickle that torch.save did not write: it could run code, so it is refused", _rewrite()
        )
    if named is None:  # torch's own message would advise to load it unsafely
        reason = re.search(r"WeightsUnpickler error: (.+)", str(error))
        return CheckpointError(f"cannot read {path}{': ' + reason[1] if reason else ''}", _DAMAGED)
    return CheckpointError(
        f"{path} is a pickle that names {named[1]}: loading it would run code, so it is refused", _rewrite()
    )


def _rewrite() -> str:
    return (
        "if you trust where it comes from, rewrite it once where its own library is installed: "
        "torch.save(torch.load(PATH, weights_only=False).state_dict(), 'state.pt'), and give state.pt"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
