"""Encoded pictures (PNG, JPEG, ...) as equally sized 8-bit images.

Grey levels of 16 bits are brought to 8, transparent parts lie on white, cameras' EXIF orientation is applied, and of
several frames the first is taken.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_stack import ArrayStack, ImageStack
from saescope.sources.images.options import ImageMode
from saescope.store.errors import UserError

EAGER_BYTES = 256 << 20
"""Decoded pictures up to this many bytes are kept in memory; more are decoded again each time they are read."""
_CHUNK = 256
_EXIF_ORIENTATION = 0x0112


Fit = Callable[[UInt8[np.ndarray, "height width channels"]], UInt8[np.ndarray, "fitted_height fitted_width 3"]]
"""Brings a picture of any size to one size, in colour. Called by several threads."""


class EncodedPictures(Protocol):
    """Pictures as their files' bytes, by index."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls the picture: its path, or file and row."""
        ...

    def read(self, indices: Sequence[int]) -> list[bytes]: ...


class LoadedPictures(NamedTuple):
    """What `load_pictures` returns."""

    stack: ImageStack
    is_fitted: bool
    """Whether their sizes were unequal, and `fit` brought them to one."""


class _Header(NamedTuple):
    height: int
    width: int
    is_grey: bool


def load_pictures(
    encoded: EncodedPictures,
    image_mode: ImageMode | None,
    subject: str,
    progress: Progress = SILENT,
    fit: Fit | None = None,
) -> LoadedPictures:
    """All pictures, in memory if they are small together, else decoded when read.

    `image_mode` None means grey where every picture is grey. Pictures of unequal size are brought to one by `fit`.
    Raises `UserError` naming the first picture that is none, and where sizes differ and there is no `fit`.
    """
    if len(encoded) == 0:
        raise UserError(f"{subject}: holds no pictures")
    sizes: dict[tuple[int, int], int] = {}
    all_grey = True
    for start in range(0, len(encoded), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(encoded)))
        for index, data in zip(chunk, encoded.read(chunk), strict=True):
            header = _inspect(data, encoded.name(index))
            sizes.setdefault((header.height, header.width), index)
            all_grey = all_grey and header.is_grey
            if len(sizes) > 1 and fit is None:
                _refuse_sizes(sizes, encoded, subject)
        progress.update("looking at pictures", chunk.stop, len(encoded))
    (height, width), _ = next(iter(sizes.items()))
    mode: ImageMode = image_mode or ("grey" if all_grey else "colour")
    is_fitted = fit is not None and len(sizes) > 1
    if fit is not None and is_fitted:
        first = _decode(encoded.read([0])[0], encoded.name(0), mode)
        fitted_height, fitted_width, _ = fit(first).shape
        stack = PictureStack(encoded, (fitted_height, fitted_width, 3), mode, fit)
    else:
        stack = PictureStack(encoded, (height, width, 1 if mode == "grey" else 3), mode)
    if len(encoded) * height * width * stack.input_shape[2] > EAGER_BYTES:
        return LoadedPictures(stack, is_fitted)
    pixels = np.empty((len(encoded), *stack.input_shape), dtype=np.uint8)
    for start in range(0, len(encoded), _CHUNK):
        stop = min(start + _CHUNK, len(encoded))
        pixels[start:stop] = stack.read(start, stop)
        progress.update("decoding pictures", stop, len(encoded))
    return LoadedPictures(ArrayStack(pixels, stack.value_range), is_fitted)


def _refuse_sizes(sizes: dict[tuple[int, int], int], encoded: EncodedPictures, subject: str) -> NoReturn:
    told = ", ".join(f"{encoded.name(i)} is {h} x {w}" for (h, w), i in sizes.items())
    raise UserError(
        f"{subject}: images of unequal size (height x width): {told}; expected one size",
        "resize or crop them first, or keep each size in a folder of its own",
    )


class PictureStack:
    """Pictures that are decoded, by several threads, each time they are read."""

    value_range: tuple[float, float] | None = (0.0, 255.0)
    resident = None

    def __init__(
        self,
        encoded: EncodedPictures,
        input_shape: tuple[int, int, int],
        mode: ImageMode,
        fit: Fit | None = None,
    ) -> None:
        self._encoded = encoded
        self.input_shape = input_shape
        self._mode, self._fit = mode, fit
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    @property
    def n_items(self) -> int:
        return len(self._encoded)

    def read(self, start: int, stop: int) -> UInt8[np.ndarray, "item height width channels"]:
        return self._decode(range(start, stop))

    def gather(self, indices: Int64[np.ndarray, " item"]) -> UInt8[np.ndarray, "item height width channels"]:
        distinct, inverse = np.unique(indices, return_inverse=True)
        images = self._decode(distinct.tolist())
        return images if np.array_equal(distinct, indices) else images[inverse]

    def let_go(self, start: int, stop: int) -> None:
        """Nothing is kept."""

    def _decode(self, indices: Sequence[int]) -> UInt8[np.ndarray, "item height width channels"]:
        images = np.empty((len(indices), *self.input_shape), dtype=np.uint8)
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            decoded = self._pool.map(self._decode_one, chunk, self._encoded.read(chunk))
            for place, image in enumerate(decoded, start):
                images[place] = image
        return images

    def _decode_one(self, index: int, data: bytes) -> UInt8[np.ndarray, "height width channels"]:
        name = self._encoded.name(index)
        image = _decode(data, name, self._mode)
        if self._fit is not None:
            image = self._fit(image)
        if image.shape != self.input_shape:
            raise UserError(f"{name}: is {image.shape[0]} x {image.shape[1]} now, unlike when it was opened")
        return image


def _inspect(data: bytes, name: str) -> _Header:
    """Size and greyness from a picture's header, without decoding it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF block, say: the pixels are what counts
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
                if picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8):  # turned by a quarter
                    width, height = height, width
                return _Header(height, width, _is_grey(picture, name))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever their data leads them to
        _refuse_picture(data, name, error)


def _is_grey(picture: Image.Image, name: str) -> bool:
    if picture.mode in ("F", "I"):
        raise UserError(
            f"{name}: a picture of mode {picture.mode} (32-bit values); expected 8 or 16 bits per channel",
            "save such values as .npy and state their range",
        )
    if picture.mode == "P":
        palette = np.asarray(picture.getpalette() or [0, 0, 0], dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith("I;16")


def pixels_of(opened: Image.Image, mode: ImageMode, name: str) -> UInt8[np.ndarray, "height width channels"]:
    """A picture's pixels as sources yield them. `name` words the errors of pictures that have no such pixels."""
    _is_grey(opened, name)  # refuses modes of 32 bits
    picture: Image.Image = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        picture = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    if mode == "grey" and picture.mode not in ("1", "L"):
        picture = picture.convert("RGB")
    pixels = np.array(picture.convert("L" if mode == "grey" else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def _decode(data: bytes, name: str, mode: ImageMode) -> UInt8[np.ndarray, "height width channels"]:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return pixels_of(opened, mode, name)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        _refuse_picture(data, name, error)


def _refuse_picture(data: bytes, name: str, error: Exception) -> NoReturn:
    if not data:
        raise UserError(f"{name} is empty; expected a picture", "remove it or copy it again") from error
    reason = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else f"truncated or corrupt ({error})"
    raise UserError(
        f"{name}: {reason} (it starts with bytes {data[:4].hex(' ')}); expected PNG, JPEG or the like",
        "remove it or copy it again",
    ) from error
