"""What a user can say about where activations come from."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from saescope.store.errors import UserError

ImageMode = Literal["grey", "colour"]
Layout = Literal["nhw", "nhwc", "nchw"]
Split = Literal["train", "test", "all"]
Purpose = Literal["train", "evaluate"]


@dataclass(frozen=True)
class SourceOptions:
    """Which data, and how it is cut into positions. Exactly one of `images` and `activations` is given.

    Bad combinations raise `UserError` here, before any file is touched.
    """

    images: str | None = None
    """IDX file, MNIST-style folder, .npy / .npz, picture, folder of pictures, Parquet, or 'embedded:NAME'."""
    activations: str | None = None
    """.npy, .npz or .safetensors with an array [item, d_in] or [item, position, d_in]."""
    patch: int | None = None
    """Side of square patches in pixels; None: a whole image is one position."""
    stride: int | None = None
    """Pixels between neighbouring patches; None: `patch`, so that they tile the image."""
    image_mode: ImageMode | None = None
    """Convert to one channel ('grey', by ITU-R 601 luma) or three ('colour'); None: as the data."""
    split: Split | None = None
    """Of data with a train and a test split; None: by the purpose (train, or test to evaluate and build)."""
    layout: Layout | None = None
    """Axes of an array of images; None: told by where an axis of length 1 or 3 stands."""
    value_range: tuple[float, float] | None = None
    """Pixel values (low, high) of an array that stand for 0 and 1; None: 0..255 for integers, floats as they are."""
    data_key: str | None = None
    """Array of an .npz, tensor of a .safetensors or column of a Parquet file to read; None: the one that fits."""
    label_key: str | None = None
    """Array of an .npz or column of a Parquet file with the labels; None: one called label, y, ..., if any."""

    def __post_init__(self) -> None:
        for name in ("images", "activations"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, os.fspath(value))
        if self.value_range is not None:
            low, high = self.value_range
            object.__setattr__(self, "value_range", (float(low), float(high)))
        self._check_data()
        self._check_patches()
        self._check_words()

    def _check_data(self) -> None:
        if self.images is not None and self.activations is not None:
            raise UserError("both images and activations are given; a source reads one of them")
        if self.images is None and self.activations is None:
            raise UserError(
                "no source is given",
                "name one: --images PATH (or embedded:digits, embedded:photos) or --activations PATH",
            )
        if not (self.images or self.activations):
            raise UserError("the path of the source is empty", "name a file or folder, or embedded:digits")
        if self.activations is not None:
            for name in ("patch", "stride", "image_mode", "layout", "value_range"):
                if getattr(self, name) is not None:
                    raise UserError(f"{name} is given, but it concerns images and the source is a file of activations")

    def _check_patches(self) -> None:
        if self.stride is not None and self.patch is None:
            raise UserError(f"stride {self.stride} is given without a patch size", "add --patch P, the patch's side")
        for name in ("patch", "stride"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"{name} is {value!r}; expected a whole number of pixels, at least 1")

    def _check_words(self) -> None:
        for name, allowed in (
            ("image_mode", get_args(ImageMode)),
            ("split", get_args(Split)),
            ("layout", get_args(Layout)),
        ):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UserError(f"unknown {name} {value!r}; expected one of: {', '.join(allowed)}")
        if self.value_range is not None:
            low, high = self.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise UserError(f"value_range is ({low:g}, {high:g}); expected finite numbers, the lower one first")

    @property
    def path(self) -> str:
        """The data's path, as given."""
        path = self.images if self.images is not None else self.activations
        assert path is not None
        return path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)
