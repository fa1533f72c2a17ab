"""NumPy files of images: .npy (memory-mapped) and .npz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.files import listed
from saescope.sources.images.image_data import ImageSet, check_labels, label_strings
from saescope.sources.images.image_stack import ArrayStack
from saescope.sources.images.options import ImageOptions
from saescope.sources.options import Split
from saescope.sources.splits import WORDS, parts_of, splits_of
from saescope.sources.streams import bomb, limit
from saescope.store.errors import DataError

NPY_MAGIC = b"\x93NUMPY"
_IMAGE_NAMES = ("images", "image", "x", "data", "pixels", "imgs", "arr_0")
_LABEL_NAMES = ("labels", "label", "y", "targets", "target", "classes", "arr_1")
_CHANNELS = (1, 3)


def load_npy(path: Path) -> np.ndarray:
    """A .npy file, mapped into memory; pickled objects are never loaded.

    Raises `DataError` where the file is truncated, corrupt or holds objects.
    """
    try:
        # Copy-on-write: the file is never changed, and torch takes the array without a copy.
        return np.load(path, mmap_mode="c", allow_pickle=False).view(np.ndarray)
    except Exception as error:  # NumPy's reader raises whatever a damaged header leads it to
        raise DataError(f"{path}: {_reason(error)}", "write it again with numpy.save") from error


def npz_names(path: Path) -> list[str]:
    """The names of the arrays of an .npz file."""
    with _open_npz(path) as arrays:
        return list(arrays)


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """Arrays of an .npz file, in memory."""
    with _open_npz(path) as arrays:
        return [_member(arrays, name, path) for name in names]


@contextmanager
def _open_npz(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    with path.open("rb") as file:
        try:
            loaded = np.load(file, allow_pickle=False)
        except Exception as error:
            raise DataError(f"{path}: {_reason(error)}", "write it again with numpy.savez") from error
        if isinstance(loaded, np.ndarray):
            raise DataError(f"{path}: named .npz, but holds a single .npy array", "rename it to .npy")
        with loaded as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > limit(path):
                raise bomb(path, "the archive")
            yield arrays


def _member(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    try:
        found = arrays[name]
        if not isinstance(found, np.ndarray):
            raise ValueError("a member that is no .npy file")
        return found
    except Exception as error:
        raise DataError(f"{path}: array {name!r}: {_reason(error)}", "write it again with numpy.savez") from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "allow_pickle" in text or "Python objects" in text:
        return "holds Python objects, which are never loaded; expected an array of numbers"
    return f"truncated or corrupt, not a NumPy file that can be read ({text.splitlines()[0] if text else error!r})"


def images_from_array(array: np.ndarray, subject: str, options: ImageOptions) -> ArrayStack:
    """Images [n, H, W, C] over `array`, without a copy where its dtype and layout allow.

    Integers: 0..255 (or 0..65535 for uint16 beyond that) stand for 0..1. Floats are taken as they are. `value_range`
    overrides both. Raises `DataError` for other dtypes, unclear layouts and no items.
    """
    arranged = _arranged(array, subject, options)
    if 0 in arranged.shape:
        raise DataError(f"{subject}: holds no images (shape {list(array.shape)})", "name a file with at least one")
    values, value_range = _valued(arranged, subject, options)
    return ArrayStack(values, value_range, options.image_mode)


def _arranged(array: np.ndarray, subject: str, options: ImageOptions) -> np.ndarray:
    shape, layout = list(array.shape), options.layout
    if layout is not None and array.ndim != len(layout):
        raise DataError(f"{subject}: shape {shape} has {array.ndim} axes; layout {layout} expects {len(layout)}")
    if array.ndim == 3:
        if layout is None and shape[2] in (3, 4) and shape[1] > 8:
            raise DataError(
                f"{subject}: shape {shape} may be one colour picture or {shape[0]} narrow grey ones",
                "say --layout nhw for grey images, or add an axis for the items: array[None]",
            )
        return array[..., None]
    if array.ndim != 4:
        raise DataError(
            f"{subject}: shape {shape}; expected [n, H, W], [n, H, W, C] or [n, C, H, W]",
            "reshape flattened images, e.g. array.reshape(-1, 28, 28), or pass vectors by --activations",
        )
    if layout is None:
        last, second = shape[3] in _CHANNELS, shape[1] in _CHANNELS
        if last and second and shape[1:] != [1, 1, 1]:
            raise DataError(
                f"{subject}: shape {shape} fits both [n, H, W, C] and [n, C, H, W]", "say --layout nhwc or nchw"
            )
        layout = "nchw" if second and not last else "nhwc"
    if layout == "nchw":
        array = np.moveaxis(array, 1, 3)
    if array.shape[3] not in _CHANNELS:
        raise DataError(
            f"{subject}: shape {shape} has {array.shape[3]} channels read as {layout}; expected 1 (grey) or 3 (colour)",
            "drop an alpha channel with array[..., :3], or pass vectors by --activations",
        )
    return array


def _valued(array: np.ndarray, subject: str, options: ImageOptions) -> tuple[np.ndarray, tuple[float, float] | None]:
    stated = options.value_range
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array, stated or (0.0, 255.0)
    if kind == "b":
        return array.view(np.uint8), stated or (0.0, 1.0)
    if kind == "f":
        return array, stated
    if kind in "iu":
        low, high = int(array.min()), int(array.max())
        if stated is not None:
            return array.astype(np.float32), stated
        if low >= 0 and high <= 255:
            return array.astype(np.uint8), (0.0, 255.0)
        if array.dtype == np.uint16:
            return array.astype(np.float32), (0.0, 65535.0)
        raise DataError(
            f"{subject}: {array.dtype} pixels from {low} to {high}; expected 0 to 255",
            "state the values that stand for black and white with --value-range LOW HIGH",
        )
    raise DataError(f"{subject}: dtype {array.dtype}; expected uint8 or floating-point pixels")


@dataclass(frozen=True)
class NpyData:
    """One .npy file of images."""

    path: Path
    options: ImageOptions
    splits: Sequence[Split] = ()
    format: str = "npy"
    uses: frozenset[str] = frozenset({"layout", "value_range"})

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        return ImageSet(images_from_array(load_npy(self.path), str(self.path), self.options))


@dataclass(frozen=True)
class NpzData:
    """One .npz file: images, labels, and with names such as x_train and x_test, splits."""

    path: Path
    options: ImageOptions
    names: dict[str, tuple[str, str | None]]
    """Split (or 'all') -> names of the arrays of images and of labels."""
    unread: tuple[str, ...] = ()
    """Names of the other arrays."""
    format: str = "npz"
    uses: frozenset[str] = frozenset({"layout", "value_range", "data_key", "label_key"})

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.names)

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        if self.unread:
            progress.tell(f"{self.path}: arrays that are not read: {listed(self.unread)}")
        chosen = parts_of({name: name for name in self.names}, split, str(self.path))
        images: list[np.ndarray] = []
        labels: list[pa.Array] = []
        for key in chosen:
            image_name, label_name = self.names[key]
            images += read_npz(self.path, image_name)
            if label_name is not None:
                subject = f"{self.path}: array {label_name!r}"
                found = label_strings(read_npz(self.path, label_name)[0], subject)
                check_labels(found, len(images[-1]) if images[-1].ndim else 0, subject)
                labels.append(found)
            else:
                labels.append(pa.nulls(len(images[-1]) if images[-1].ndim else 0, pa.string()))
        if len({i.shape[1:] for i in images}) > 1:
            raise DataError(f"{self.path}: shapes {[list(i.shape) for i in images]}; expected images of one size")
        self._check_alike(dict(zip((self.names[key][0] for key in chosen), images, strict=True)))
        array = images[0] if len(images) == 1 else np.concatenate(images)
        known = pa.concat_arrays(labels) if any(self.names[key][1] for key in chosen) else None
        return ImageSet(
            images_from_array(array, f"{self.path}: array {self.names[chosen[0]][0]!r}", self.options), known
        )

    def _check_alike(self, images: Mapping[str, np.ndarray]) -> None:
        """`DataError` where one value stands for different things in arrays that are read as one."""
        if self.options.value_range is not None or len({array.dtype for array in images.values()}) == 1:
            return
        ranges = {_valued(array, f"{self.path}: array {n!r}", self.options)[1] for n, array in images.items()}
        if len(ranges) > 1:
            kinds = ", ".join(f"{name!r} is {array.dtype}" for name, array in images.items())
            raise DataError(
                f"{self.path}: pixels of unlike kinds: {kinds}",
                "write all of them with one dtype, or state the values for black and white with --value-range LOW HIGH",
            )


def find_npz(path: Path, options: ImageOptions) -> NpzData:
    """The images, labels and splits of an .npz file, told by the arrays' names."""
    keys = npz_names(path)
    if options.data_key is not None:
        for key in (options.data_key, options.label_key):
            if key is not None and key not in keys:
                raise DataError(f"{path}: no array {key!r}", f"it holds: {', '.join(keys) or 'nothing'}")
        return NpzData(path, options, {"all": (options.data_key, options.label_key or _first(keys, _LABEL_NAMES))})
    lower = {k.lower(): k for k in keys}
    names: dict[str, tuple[str, str | None]] = {}
    for split, words in WORDS.items():
        if image := _first(lower, _with_split(_IMAGE_NAMES, words)):
            label = _first(lower, _with_split(_LABEL_NAMES, words))
            names[split] = (lower[image], lower[label] if label else None)
    if not names:
        image = _first(lower, _IMAGE_NAMES) or (next(iter(lower)) if len(lower) == 1 else None)
        if image is None:
            raise DataError(
                f"{path}: cannot tell which of its arrays holds the images: {', '.join(keys) or 'it has none'}",
                "name it with --data-key",
            )
        label = options.label_key or _first(lower, _LABEL_NAMES)
        if label is not None and label not in keys and label not in lower:
            raise DataError(f"{path}: no array {label!r}", f"it holds: {', '.join(keys)}")
        names["all"] = (lower[image], lower.get(label, label) if label else None)
    read = {name for pair in names.values() for name in pair}
    unread = tuple(key for key in keys if key not in read)
    # The labels of a split are found by its name.
    uses = NpzData.uses if "all" in names else NpzData.uses - {"label_key"}
    return NpzData(path, options, names, unread, uses=uses)


def _with_split(names: Sequence[str], words: Sequence[str]) -> list[str]:
    return [f"{a}_{b}" for word in words for n in names for a, b in ((n, word), (word, n))]


def _first(names: Any, wanted: Sequence[str]) -> str | None:
    return next((w for w in wanted if w in names), None)
