"""Encoded pictures (PNG, JPEG, ...) as equally sized images; every page or frame of a file is one.

Pictures of 8 bits are bytes. Where one has 16, all are taken as values of 16 bits, up to 65535, and none is rounded;
values of 32 bits need a range that is stated. Transparent parts lie on white, and cameras' EXIF orientation is applied.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, Protocol

import numpy as np
from jaxtyping import Float, Int64, Num, UInt8
from PIL import Image, ImageOps, PpmImagePlugin, TiffImagePlugin

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_stack import ArrayStack, ImageStack, to_display
from saescope.sources.images.options import ImageMode
from saescope.store.errors import DataError, UserError

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
    files: Int64[np.ndarray, " item"] | None = None
    """The picture that each item is a page of; None where every picture is one item."""
    pages: Int64[np.ndarray, " item"] | None = None
    """Each item's page in it."""


class _Header(NamedTuple):
    height: int
    width: int
    is_grey: bool
    depth: int
    """Bits of a value."""
    pages: tuple[int, ...]
    """Those of the first one's size; others are small copies, or other pictures."""
    n_pages: int
    is_rounded: bool
    """Whether a page has more than 8 bits per channel, of which decoding leaves 8."""


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Formats that are tried: those whose decoders run no other program (EPS would start Ghostscript)."""
    Image.init()
    wanted = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
    return tuple(name for name in wanted if name in Image.OPEN)


def open_picture(source: IO[bytes] | Path) -> Image.Image:
    """A picture, not decoded yet. Raises whatever its data leads the decoders to."""
    return Image.open(source, formats=_formats())


def load_pictures(
    encoded: EncodedPictures,
    image_mode: ImageMode | None,
    subject: str,
    progress: Progress = SILENT,
    fit: Fit | None = None,
    value_range: tuple[float, float] | None = None,
) -> LoadedPictures:
    """All pictures, in memory if they are small together, else decoded when read.

    `image_mode` None means grey where every picture is grey. Pictures of unequal size are brought to one by `fit`.
    `value_range` None means 0..255, or 0..65535 where a picture has 16 bits. Raises `DataError` naming the first
    picture that is none, and where sizes differ and there is no `fit`.
    """
    if len(encoded) == 0:
        raise DataError(f"{subject}: holds no pictures")
    sizes: dict[tuple[int, int], int] = {}
    all_grey, depth = True, 8
    files: list[int] = []
    pages: list[int] = []
    n_pages = n_rounded = 0
    for start in range(0, len(encoded), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(encoded)))
        for index, data in zip(chunk, encoded.read(chunk), strict=True):
            header = _inspect(data, encoded.name(index), value_range)
            sizes.setdefault((header.height, header.width), index)
            all_grey = all_grey and header.is_grey
            depth = max(depth, header.depth)
            files += [index] * len(header.pages)
            pages += header.pages
            n_pages += header.n_pages
            n_rounded += header.is_rounded
            if len(sizes) > 1 and fit is None:
                _refuse_sizes(sizes, encoded, subject)
        progress.update("looking at pictures", chunk.stop, len(encoded))
    if n_pages > len(encoded):
        left = f"; {n_pages - len(pages):,} of another size than their file's first are left out"
        progress.tell(
            f"{subject}: every page of a file is an item: {len(pages):,} of {len(encoded):,} files"
            + (left if n_pages > len(pages) else "")
        )
    if n_rounded:
        progress.tell(
            f"{subject}: {n_rounded:,} of {len(encoded):,} pictures have more than 8 bits per channel, in colour or "
            "with transparency; 8 of them are read (arrays, .npy, keep all)"
        )
    (height, width), _ = next(iter(sizes.items()))
    mode: ImageMode = image_mode or ("grey" if all_grey else "colour")
    levels = value_range or ((0.0, 255.0) if depth == 8 else (0.0, 65535.0))
    is_fitted = fit is not None and len(sizes) > 1
    shape = (height, width, 1 if mode == "grey" else 3)
    if fit is not None and is_fitted:
        (first,) = _decode(encoded.read([0])[0], encoded.name(0), mode, depth, [pages[0]], value_range is not None)
        shape = (*fit(_in_bytes(first, levels)).shape[:2], 3)
    stack = PictureStack(
        encoded,
        shape,
        mode,
        fit if is_fitted else None,
        depth,
        levels,
        np.array(files),
        np.array(pages),
        as_stored=value_range is not None,
    )
    several = n_pages > len(encoded)
    places = (np.array(files, np.int64), np.array(pages, np.int64)) if several else (None, None)
    if len(pages) * math.prod(stack.input_shape) * stack.dtype.itemsize > EAGER_BYTES:
        return LoadedPictures(stack, is_fitted, *places)
    pixels = np.empty((len(pages), *stack.input_shape), dtype=stack.dtype)
    for start in range(0, len(pages), _CHUNK):
        stop = min(start + _CHUNK, len(pages))
        pixels[start:stop] = stack.read(start, stop)
        progress.update("decoding pictures", stop, len(pages))
    return LoadedPictures(ArrayStack(pixels, stack.value_range), is_fitted, *places)


def _refuse_sizes(sizes: dict[tuple[int, int], int], encoded: EncodedPictures, subject: str) -> NoReturn:
    shapes = ", ".join(f"{encoded.name(i)} is {h} x {w}" for (h, w), i in sizes.items())
    raise DataError(
        f"{subject}: images of unequal size (height x width): {shapes}; expected one size",
        "resize or crop them first, or keep each size in a folder of its own",
    )


class PictureStack:
    """Pictures that are decoded, by several threads, each time they are read: bytes, or float32 of deeper values."""

    resident = None

    def __init__(
        self,
        encoded: EncodedPictures,
        input_shape: tuple[int, int, int],
        mode: ImageMode,
        fit: Fit | None,
        depth: int,
        levels: tuple[float, float],
        files: Int64[np.ndarray, " item"],
        pages: Int64[np.ndarray, " item"],
        *,
        as_stored: bool,
    ) -> None:
        """`levels` stand for 0 and 1; `files` and `pages` say where each item is; `as_stored` as in `_decode`."""
        self._encoded = encoded
        self.input_shape = input_shape
        self._mode, self._fit, self._depth, self._levels = mode, fit, depth, levels
        self._files, self._pages, self._as_stored = files, pages, as_stored
        self.dtype = np.dtype(np.uint8 if fit is not None or depth == 8 else np.float32)
        self.value_range: tuple[float, float] | None = (0.0, 255.0) if fit is not None else levels
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    @property
    def n_items(self) -> int:
        return len(self._files)

    def read(self, start: int, stop: int) -> Num[np.ndarray, "item height width channels"]:
        return self._decode(np.arange(start, stop))

    def gather(self, indices: Int64[np.ndarray, " item"]) -> Num[np.ndarray, "item height width channels"]:
        distinct, inverse = np.unique(indices, return_inverse=True)
        images = self._decode(distinct)
        return images if np.array_equal(distinct, indices) else images[inverse]

    def let_go(self, start: int, stop: int) -> None:
        """Nothing is kept."""

    def _decode(self, items: Int64[np.ndarray, " item"]) -> Num[np.ndarray, "item height width channels"]:
        """Items in ascending order."""
        images = np.empty((len(items), *self.input_shape), dtype=self.dtype)
        place = 0
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            files = list(dict.fromkeys(self._files[chunk].tolist()))
            pages = [self._pages[chunk[self._files[chunk] == file]].tolist() for file in files]
            for decoded in self._pool.map(self._decode_file, files, pages, self._encoded.read(files)):
                images[place : place + len(decoded)] = decoded
                place += len(decoded)
        return images

    def _decode_file(
        self, file: int, pages: Sequence[int], data: bytes
    ) -> list[Num[np.ndarray, "height width channels"]]:
        name = self._encoded.name(file)
        images = _decode(data, name, self._mode, self._depth, pages, self._as_stored)
        if self._fit is not None:
            images = [self._fit(_in_bytes(image, self._levels)) for image in images]
        for image in images:
            if image.shape != self.input_shape:
                raise DataError(f"{name}: is {image.shape[0]} x {image.shape[1]} now, unlike when it was opened")
        return images


def _inspect(data: bytes, name: str, value_range: tuple[float, float] | None) -> _Header:
    """Size, greyness, depth and pages from a picture's headers, without decoding it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF block, say: the pixels are what counts
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_picture(io.BytesIO(data)) as picture:
                width, height = picture.size
                turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)  # by a quarter
                is_grey, depth = _is_grey(picture, name, value_range), _depth(picture)
                is_rounded = depth == 8 and _stored_bits(picture, data, name) > 8
                # The further pictures of MPO are small copies and depth maps that cameras add to a JPEG.
                n_pages = 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
                pages = [0]
                for page in range(1, n_pages):
                    if picture.format == "TIFF":
                        picture.seek(page)
                    if picture.size != (width, height):
                        continue
                    pages.append(page)
                    if picture.format == "TIFF":
                        depth = max(depth, _depth(picture))
                        is_rounded |= _depth(picture) == 8 and _stored_bits(picture, data, name) > 8
                        is_grey &= _is_grey(picture, name, value_range)
                    elif picture.format == "GIF" and is_grey:  # each frame may have a palette of its own
                        picture.seek(page)
                        pixels = pixels_of(picture, "colour", name)
                        is_grey = bool((pixels == pixels[..., :1]).all())
                size = (width, height) if turned else (height, width)
                return _Header(*size, is_grey, depth, tuple(pages), n_pages, is_rounded)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever their data leads them to
        _refuse_picture(data, name, error)


def _depth(picture: Image.Image) -> int:
    if picture.mode == "I" and isinstance(picture, PpmImagePlugin.PpmImageFile):
        return 16  # which Pillow brings from the greatest value that the file names to 65535
    if picture.mode in ("F", "I"):
        return 32
    return 16 if picture.mode.startswith("I;16") else 8


def _stored_bits(picture: Image.Image, data: bytes, name: str) -> int:
    """Bits of a value in the file, in formats that may have more than Pillow decodes; 8 in the others."""
    if picture.format == "PNG":
        return data[24]
    if picture.format == "JPEG2000":
        return (data[data.find(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1
    if isinstance(picture, PpmImagePlugin.PpmImageFile):
        given = picture.tile[0][3]
        return int(given[1]).bit_length() if isinstance(given, tuple) else 8  # of the greatest value, where it is said
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 8
    bits = max(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
    is_apart = picture.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    if bits > 8 and is_apart and picture.tile[0][0] == "raw":  # which Pillow takes for 8 bits
        raise DataError(
            f"{name}: colour of {bits} bits per channel, uncompressed and in separate planes, cannot be read",
            "write it with its channels side by side, or as an array, .npy",
        )
    return int(bits)


def _is_grey(picture: Image.Image, name: str, value_range: tuple[float, float] | None = None) -> bool:
    if _depth(picture) == 32:
        if value_range is None:
            raise DataError(
                f"{name}: a picture of mode {picture.mode} (32-bit values); expected 8 or 16 bits per channel",
                "state the values that stand for black and white with --value-range LOW HIGH",
            )
        return True
    if picture.mode == "P":
        palette = np.asarray(picture.getpalette() or [0, 0, 0], dtype=np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La") or _depth(picture) == 16


def pixels_of(opened: Image.Image, mode: ImageMode, name: str) -> UInt8[np.ndarray, "height width channels"]:
    """A picture's pixels as sources yield them. `name` words the errors of pictures that have no such pixels."""
    _is_grey(opened, name)  # refuses modes of 32 bits
    picture: Image.Image = ImageOps.exif_transpose(opened)
    if _depth(opened) == 16:
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


def _decode(
    data: bytes, name: str, mode: ImageMode, depth: int, pages: Sequence[int], as_stored: bool
) -> list[Num[np.ndarray, "height width channels"]]:
    """Pages of a picture, in ascending order: bytes, or float32 where values have more than 8 bits: `as_stored`, or
    those of less than 16 as the same grey levels in 16."""
    try:
        with open_picture(io.BytesIO(data)) as opened:
            images = []
            for page in pages:
                if page or opened.tell():
                    opened.seek(page)
                images.append(
                    pixels_of(opened, mode, name) if depth == 8 else _deep_pixels(opened, mode, name, as_stored)
                )
            return images
    except (UserError, MemoryError):
        raise
    except Exception as error:
        _refuse_picture(data, name, error)


def _deep_pixels(
    opened: Image.Image, mode: ImageMode, name: str, as_stored: bool
) -> Float[np.ndarray, "height width channels"]:
    """Values `as_stored`, or those of less than 16 bits as the same grey levels in 16."""
    if _depth(opened) == 8:
        return pixels_of(opened, mode, name).astype(np.float32) * np.float32(1 if as_stored else 257)
    given = None
    if isinstance(opened, PpmImagePlugin.PpmImageFile) and opened.mode == "I":
        given = opened.tile[0][3]
    values = np.asarray(ImageOps.exif_transpose(opened)).astype(np.float32)[..., None]
    if as_stored and isinstance(given, tuple):  # with the value that Pillow makes 65535
        values = np.rint(values * np.float32(given[1] / 65535))
    return values if mode == "grey" else np.repeat(values, 3, axis=2)


def _in_bytes(
    image: Num[np.ndarray, "height width channels"], levels: tuple[float, float]
) -> UInt8[np.ndarray, "height width channels"]:
    return to_display(image[None], levels)[0]


def _refuse_picture(data: bytes, name: str, error: Exception) -> NoReturn:
    if not data:
        raise DataError(f"{name} is empty; expected a picture", "remove it or copy it again") from error
    reason = "not a picture" if isinstance(error, Image.UnidentifiedImageError) else f"truncated or corrupt ({error})"
    raise DataError(
        f"{name}: {reason} (it starts with bytes {data[:4].hex(' ')}); expected PNG, JPEG or the like",
        "remove it or copy it again",
    ) from error
