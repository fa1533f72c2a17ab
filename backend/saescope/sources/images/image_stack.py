"""Equally sized images by index, as they are stored.

Shape symbols: `item` images, `height`, `width`, `channels` (1 or 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int64, Num, UInt8
from torch import Tensor

from saescope.sources.images.options import ImageMode
from saescope.sources.mapped_files import let_go

# Values per block of reading: 4 Mi values, 16 MiB as float32.
BLOCK_VALUES = 1 << 22


class ImageStack(Protocol):
    """Images of one shape, uint8 or float32, C last.

    Stored uint8 values low..high of `value_range` stand for 0..1. With `value_range` None, float32 values are yielded
    as they are.
    """

    @property
    def n_items(self) -> int: ...

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        ...

    @property
    def value_range(self) -> tuple[float, float] | None: ...

    @property
    def resident(self) -> Num[np.ndarray, "n_items height width channels"] | None:
        """All images as one C-contiguous array (in memory or memory-mapped), or None."""
        ...

    def read(self, start: int, stop: int) -> Num[np.ndarray, "item height width channels"]:
        """Images start..stop-1, C-contiguous; may share memory with the stack."""
        ...

    def gather(self, indices: Int64[np.ndarray, " item"]) -> Num[np.ndarray, "item height width channels"]:
        """Images at `indices` (any order, repeats allowed), C-contiguous."""
        ...

    def let_go(self, start: int, stop: int) -> None:
        """A hint that images start..stop-1 will not be read again soon."""
        ...


class ArrayStack:
    """Images in an array in memory or mapped from a file: [n, H, W, C], of any strides, uint8 or floating-point."""

    def __init__(
        self,
        array: Num[np.ndarray, "n_items height width channels"],
        value_range: tuple[float, float] | None,
        image_mode: ImageMode | None = None,
    ) -> None:
        assert array.dtype == np.uint8 or array.dtype.kind == "f"
        assert array.ndim == 4
        self._array = array
        self._dtype = np.dtype(np.uint8 if array.dtype == np.uint8 else np.float32)
        self.value_range = value_range
        self._mode = None if image_mode == mode_of(array.shape[3]) else image_mode

    @property
    def n_items(self) -> int:
        return len(self._array)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        height, width, channels = self._array.shape[1:]
        return height, width, channels if self._mode is None else {"grey": 1, "colour": 3}[self._mode]

    @property
    def resident(self) -> Num[np.ndarray, "n_items height width channels"] | None:
        as_stored = self._mode is None and self._array.dtype == self._dtype and self._array.flags.c_contiguous
        return self._array if as_stored else None

    def read(self, start: int, stop: int) -> Num[np.ndarray, "item height width channels"]:
        return self._converted(self._array[start:stop])

    def gather(self, indices: Int64[np.ndarray, " item"]) -> Num[np.ndarray, "item height width channels"]:
        return self._converted(self._array[indices])

    def let_go(self, start: int, stop: int) -> None:
        let_go(self._array[start:stop])

    def _converted(self, images: np.ndarray) -> Num[np.ndarray, "item height width channels"]:
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused when the source is opened
            values = images.astype(self._dtype, copy=False)
        return np.ascontiguousarray(convert(values, self._mode))


class ChosenStack:
    """Some images of another stack."""

    resident = None

    def __init__(self, stack: ImageStack, items: Int64[np.ndarray, " chosen"]) -> None:
        """`items` ascend."""
        self._stack, self._items = stack, items
        self.input_shape, self.value_range = stack.input_shape, stack.value_range

    @property
    def n_items(self) -> int:
        return len(self._items)

    def read(self, start: int, stop: int) -> Num[np.ndarray, "item height width channels"]:
        return self._stack.gather(self._items[start:stop])

    def gather(self, indices: Int64[np.ndarray, " item"]) -> Num[np.ndarray, "item height width channels"]:
        return self._stack.gather(self._items[indices])

    def let_go(self, start: int, stop: int) -> None:
        if start < stop:
            self._stack.let_go(int(self._items[start]), int(self._items[stop - 1]) + 1)


def mode_of(channels: int) -> ImageMode:
    return "grey" if channels == 1 else "colour"


def convert(
    images: Num[np.ndarray, "item height width channels"], mode: ImageMode | None
) -> Num[np.ndarray, "item height width converted"]:
    """To one channel or three. Luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, in 16-bit fixed point for uint8."""
    channels = images.shape[3]
    if mode is None or mode_of(channels) == mode:
        return images
    if mode == "colour":
        return np.repeat(images, 3, axis=3)
    if images.dtype == np.uint8:
        luma = images.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
        return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]
    return (images @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]


def blocks(stack: ImageStack) -> Iterator[Num[np.ndarray, "item height width channels"]]:
    """All images in order, in blocks of a bounded size."""
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(stack.input_shape))))
    for start in range(0, stack.n_items, step):
        stop = min(start + step, stack.n_items)
        yield stack.read(start, stop)
        stack.let_go(start, stop)


def to_float(values: Tensor, value_range: tuple[float, float] | None) -> Float[Tensor, "*shape"]:
    """Contiguous float32: (value - low) / (high - low), or the values as they are where `value_range` is None.

    A contiguous float32 tensor without a range is returned itself: no copy.
    """
    if value_range is None:
        return values.to(torch.float32).contiguous()
    low, high = value_range
    scaled = values.contiguous().to(torch.float32, copy=True)
    if low != 0.0:
        scaled.sub_(low)
    return scaled.div_(high - low)


def to_display(
    images: Num[np.ndarray, "item height width channels"], shown_range: tuple[float, float]
) -> UInt8[np.ndarray, "item height width channels"]:
    """8-bit pictures for people: stored values low..high of `shown_range` become 0..255."""
    low, high = shown_range
    if images.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return images
    scale = 255.0 / (high - low) if high > low else 0.0
    shown = (images.astype(np.float32) - np.float32(low)) * np.float32(scale)
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)
