"""IDX files, the format of MNIST, and folders of them.

Format (LeCun, "The MNIST database"): two zero bytes, a dtype code, the number of axes, each axis as a big-endian
uint32, then the values, big-endian, C order.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.images.arrays import images_from_array
from saescope.sources.images.image_data import ImageSet, check_labels, label_strings
from saescope.sources.images.image_stack import ArrayStack
from saescope.sources.images.options import ImageOptions
from saescope.sources.mapped_files import map_array
from saescope.sources.options import Split
from saescope.sources.splits import parts_of, splits_of
from saescope.sources.streams import bomb, limit
from saescope.store.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES = re.compile(
    r"(?P<prefix>.*?)(?P<split>train|t10k|test)[-._]images[-._]idx[34][-._]ubyte(?P<gz>\.gz)?", re.IGNORECASE
)
MAP_BYTES = 256 << 20
_AGAIN = "download or copy it again"


def is_idx_magic(head: bytes) -> bool:
    """Whether `head` (the first 4 bytes, unpacked) starts an IDX file."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _DTYPES and 1 <= head[3] <= 8


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, gzipped (told by its content) or not; large plain files are mapped, not read.

    Raises `DataError` where the file is missing, empty, packed badly, has a wrong magic number, or holds more or fewer
    values than its header says.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            return _read(stream, path, packed)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is truncated or corrupt ({error})", _AGAIN) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(stream: BinaryIO, path: Path, packed: bool) -> np.ndarray:
    head = stream.read(4)
    if not head:
        raise DataError(f"{path} is empty; expected an IDX file", _AGAIN)
    if not is_idx_magic(head):
        raise DataError(
            f"{path}: starts{' (unpacked)' * packed} with bytes {head.hex(' ')}; an IDX file starts with 00 00, a type "
            "code of 08..0e and its number of axes (MNIST images: 00 00 08 03, labels: 00 00 08 01)",
            "unpack it first: of gzipped files only IDX is read" if packed else "check that this is the right file",
        )
    dtype = np.dtype(_DTYPES[head[2]])
    axes = stream.read(4 * head[3])
    if len(axes) < 4 * head[3]:
        raise DataError(f"{path}: ends within its header", _AGAIN)
    shape = struct.unpack(f">{head[3]}I", axes)
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not packed and expected > MAP_BYTES and path.stat().st_size == stream.tell() + expected:
        return map_array(path, dtype, shape, stream.tell())
    if packed and expected > limit(path):
        raise bomb(path, "the array")
    data = bytearray()
    while len(data) <= expected and (piece := stream.read(min(expected + 1 - len(data), 1 << 24))):
        data += piece
    if len(data) != expected:
        found = "more" if len(data) > expected else f"{len(data):,}"
        raise DataError(
            f"{path}: its header promises {' x '.join(map(str, shape))} values of {dtype.itemsize} byte(s), "
            f"{expected:,} bytes; found {found}",
            f"the file is truncated or corrupt: {_AGAIN}",
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


class Pair(NamedTuple):
    """A file of images and, where there is one, its file of labels."""

    images: Path
    labels: Path | None


@dataclass(frozen=True)
class IdxData:
    """One IDX file of images, or a folder with files for training and testing."""

    options: ImageOptions
    pairs: dict[str, Pair]
    format: str = "idx"
    uses: frozenset[str] = frozenset({"layout", "value_range"})

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.pairs)

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        pairs = parts_of(self.pairs, split, self.options.path)
        loaded = [_load(pair, self.options) for pair in pairs]
        stack = _joined([s for s, _ in loaded], [pair.images for pair in pairs])
        labels = None
        if all(found is not None for _, found in loaded):
            labels = pa.concat_arrays([found for _, found in loaded])
        words = {"label": "digit"} if labels is not None and self._are_digits(labels) else {}
        return ImageSet(stack, labels, label_words=words)

    def _are_digits(self, labels: pa.Array) -> bool:
        """Whether this is MNIST: by its first ten labels, or by its folder's name. Fashion-MNIST shares all else."""
        if "".join(labels[:10].to_pylist()) in ("5041921314", "7210414959"):
            return True
        where = str(next(iter(self.pairs.values())).images.absolute()).lower()
        return bool(re.search(r"(?<![a-z])mnist(?![a-z])", where)) and not re.search("fashion|kuzushiji|sign", where)


def _load(pair: Pair, options: ImageOptions) -> tuple[ArrayStack, pa.Array | None]:
    array = read_idx(pair.images)
    if array.ndim not in (3, 4):
        kind = "labels" if array.ndim == 1 else "values"
        raise DataError(
            f"{pair.images}: {kind} of shape {list(array.shape)}; expected images, [n, height, width]",
            "name the file of images; its labels are found beside it",
        )
    stack = images_from_array(array, str(pair.images), options)
    if pair.labels is None:
        return stack, None
    labels = label_strings(read_idx(pair.labels), str(pair.labels))
    check_labels(labels, stack.n_items, f"{pair.labels} beside {pair.images.name}")
    return stack, labels


def _joined(stacks: list[ArrayStack], paths: list[Path]) -> ArrayStack:
    first = stacks[0]
    if len(stacks) == 1:
        return first
    for stack, path in zip(stacks, paths, strict=True):
        if stack.input_shape != first.input_shape:
            shapes = f"{paths[0].name} has images of {first.input_shape}, {path.name} of {stack.input_shape}"
            raise DataError(f"{path.parent}: {shapes}; expected one size", "take one of them with --split")
    return ArrayStack(np.concatenate([s.read(0, s.n_items) for s in stacks]), first.value_range)


def find_in_folder(folder: Path, options: ImageOptions) -> IdxData | None:
    """The IDX data of a MNIST-style folder (or of its `raw` or `MNIST/raw`), or None where there is none."""
    for candidate in (folder, folder / "raw", folder / "MNIST" / "raw"):
        if candidate.is_dir() and (found := _pairs(candidate)):
            return IdxData(options, found)
    return None


def _pairs(folder: Path) -> dict[str, Pair]:
    matches = [(p, m) for p in sorted(folder.iterdir()) if (m := _IMAGES.fullmatch(p.name)) and p.is_file()]
    prefixes = sorted({m["prefix"] for _, m in matches})
    if len(prefixes) > 1:
        named = ", ".join(p.strip("-._") or "one without a name" for p in prefixes)
        raise DataError(
            f"{folder}: holds several data sets ({named})",
            "name one file of images, or put each data set in a folder of its own",
        )
    pairs: dict[str, Pair] = {}
    for path, match in sorted(matches, key=lambda found: found[1]["gz"] is not None):  # unpacked files first
        pairs.setdefault("train" if match["split"].lower() == "train" else "test", Pair(path, labels_of(path)))
    return {name: pairs[name] for name in ("train", "test") if name in pairs}


def find_file(path: Path, options: ImageOptions) -> IdxData:
    """The IDX data of one file of images."""
    return IdxData(options, {"all": Pair(path, labels_of(path))})


def labels_of(images: Path) -> Path | None:
    """The labels that lie beside `images`, by the usual names, packed or not."""
    stem = re.sub(r"\.gz$", "", images.name, flags=re.IGNORECASE)
    name = re.sub(r"images([-._])idx[34]", r"labels\1idx1", stem, flags=re.IGNORECASE)
    if name == stem:
        return None
    # Names written train-images.idx3-ubyte go with train-labels.idx1-ubyte, but are mixed by some mirrors.
    names = [
        name,
        re.sub(r"labels[-._]idx1[-._]", "labels-idx1-", name),
        re.sub(r"labels[-._]idx1", "labels.idx1", name),
    ]
    for candidate in (f"{n}{suffix}" for n in names for suffix in ("", ".gz")):
        path = images.with_name(candidate)
        if path.is_file():
            return path
    return None
