"""What a user can say about images, and about how their pixels become positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from saescope.options import flag
from saescope.sources.options import DataOptions, LabelChoice
from saescope.store.errors import OptionError

ImageMode = Literal["grey", "colour"]
Layout = Literal["nhw", "nhwc", "nchw"]
Pixels = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class ArrayOptions(DataOptions):
    """What to read of a file with several arrays."""

    data_key: str | None = field(default=None, metadata=flag(default="the one that fits"))
    """Which array, tensor or column to read of a file with several."""
    label_key: str | None = field(default=None, metadata=flag(default="one called label, y, ..., if any"))
    """Which array or column holds the labels."""

    concern: ClassVar[str] = "arrays and images"


@dataclass(frozen=True, kw_only=True)
class ImageOptions(ArrayOptions, LabelChoice):
    """What all that begins with images has in common."""

    images: str = field(metadata=flag(metavar="PATH"))
    """An IDX file or a folder in MNIST's layout (gzipped or not; labels are picked up), .npy, .npz, a picture, a folder
    of pictures (sub-folders are labels), a Parquet column of images; or `embedded:digits` (scikit-learn's digits, 1,797
    of 8 x 8) and `embedded:photos` (64 x 64 crops of the photographs that come with scikit-learn and, if installed,
    scikit-image)."""
    image_mode: ImageMode | None = field(default=None, metadata=flag(default="as the data"))
    """Convert to one channel (by ITU-R 601 luma) or to three."""
    layout: Layout | None = field(default=None, metadata=flag(default="told from its shape"))
    """Axes of an array of images."""
    value_range: tuple[float, float] | None = field(
        default=None,
        metadata=flag(
            metavar="LOW HIGH", default="0 255 for integers, 0 65535 for those of 16 bits, floats as they are"
        ),
    )
    """Values of arrays and pictures that stand for 0 and 1."""

    data: ClassVar[str] = "images"
    concern: ClassVar[str] = "images"

    def _check(self) -> None:
        super()._check()
        if self.value_range is not None:
            low, high = self.value_range
            if low >= high:
                raise OptionError(f"value_range is ({low:g}, {high:g}), expected the lower one first")
            object.__setattr__(self, "value_range", (float(low), float(high)))


@dataclass(frozen=True, kw_only=True)
class CapturedOptions(ImageOptions):
    """Images that are activations themselves."""

    pair: str | None = field(default=None, metadata=flag(metavar="PATH"))
    """A second noisy capture of the same fields, in the same order: training rebuilds one from the other, which of the
    two being drawn for each example (Noise2Noise). `evaluate` and `build` read the first alone."""

    concern: ClassVar[str] = "images as pixels"


@dataclass(frozen=True, kw_only=True)
class PixelOptions(CapturedOptions):
    """Pixels of whole images: an image is one position."""

    kind: ClassVar[str] = "pixels"
    called: ClassVar[str] = "the source is pixels (there is no --model)"
    foreign: ClassVar[dict[str, tuple[str, str]]] = {
        "stride": ("a stride is given without a patch size", "add --patch P, the patch's side")
    }


@dataclass(frozen=True, kw_only=True)
class PatchOptions(CapturedOptions):
    """Square patches of images, each a position."""

    patch: Pixels = field(metadata=flag(metavar="P", default="a whole image is one position"))
    """Cut images into P x P patches, each a position of its image."""
    stride: Pixels | None = field(
        default=None, metadata=flag(metavar="PIXELS", default="P, so that patches tile the image")
    )
    """Pixels between neighbouring patches."""

    kind: ClassVar[str] = "pixels"
    concern: ClassVar[str] = "images"
    chosen_by: ClassVar[str] = "patch"
    called: ClassVar[str] = "the source is patches of pixels (there is no --model)"
