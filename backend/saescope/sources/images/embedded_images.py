"""Real images that ship with dependencies: scikit-learn's digits and photographs, scikit-image's photographs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.image_stack import ArrayStack
from saescope.sources.images.options import ImageOptions
from saescope.sources.images.pictures import open_picture
from saescope.sources.options import Split
from saescope.store.errors import OptionError

PREFIX = "embedded:"
NAMES = ("digits", "photos")
CROP = 64
"""Side of the crops that photographs are cut into, in pixels."""
_SKLEARN = ("china.jpg", "flower.jpg")
# Photographs in scikit-image's wheel (drawings, micrographs and depth maps left out); the others would be downloaded.
_SKIMAGE_COLOUR = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
_SKIMAGE_GREY = ("brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "moon.png")


@dataclass(frozen=True)
class EmbeddedData:
    """'digits': 1,797 images of 8 x 8, values 0..16. 'photos': crops of 64 x 64 that do not overlap.

    Crops of one photograph resemble each other: what is held out among them is easier than another photograph.
    """

    name: str
    options: ImageOptions
    splits: Sequence[Split] = ()
    format: str = "embedded"
    uses: frozenset[str] = frozenset()

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        return _digits(self.options) if self.name == "digits" else _photos(self.options)


def find_embedded(options: ImageOptions) -> EmbeddedData:
    """The data set that 'embedded:NAME' names; `OptionError` naming the known ones where there is none."""
    name = options.path.removeprefix(PREFIX)
    if name not in NAMES:
        known = " or ".join(PREFIX + n for n in NAMES)
        raise OptionError(f"there is no embedded data set {name!r}; expected {known}")
    return EmbeddedData(name, options)


def _digits(options: ImageOptions) -> ImageSet:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    stack = ArrayStack(bunch.images.astype(np.uint8)[..., None], (0.0, 16.0), options.image_mode)
    labels = pa.array([str(d) for d in bunch.target.tolist()], pa.string())
    return ImageSet(stack, labels, label_words={"label": "digit"})


def _photos(options: ImageOptions) -> ImageSet:
    crops: list[np.ndarray] = []
    names: list[str] = []
    for path in _photographs(options.image_mode == "grey"):
        with open_picture(path) as picture:
            pixels = np.asarray(picture.convert("L" if options.image_mode == "grey" else "RGB"))
        cut = _crops(pixels if pixels.ndim == 3 else pixels[..., None])
        crops.append(cut)
        names += [path.stem] * len(cut)
    stack = ArrayStack(np.concatenate(crops), (0.0, 255.0))
    photograph = pa.array(names, pa.string())
    return ImageSet(stack, metadata={"photograph": photograph}, label_words={"photograph": "photograph"})


def _photographs(with_grey: bool) -> Iterator[Path]:
    """Files of the installed photographs, in a fixed order; grey ones only where grey is asked for."""
    names = {"sklearn": _SKLEARN, "skimage": _SKIMAGE_COLOUR + (_SKIMAGE_GREY if with_grey else ())}
    folders = {"sklearn": ("datasets", "images"), "skimage": ("data",)}
    for package, files in names.items():
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        folder = Path(next(iter(spec.submodule_search_locations))).joinpath(*folders[package])
        yield from (folder / f for f in files if (folder / f).is_file())


def _crops(pixels: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "crop side side channels"]:
    """All crops that fit side by side into the middle of a photograph, row by row."""
    height, width, channels = pixels.shape
    rows, columns = height // CROP, width // CROP
    top, left = (height - rows * CROP) // 2, (width - columns * CROP) // 2
    middle = pixels[top : top + rows * CROP, left : left + columns * CROP]
    tiles = middle.reshape(rows, CROP, columns, CROP, channels).swapaxes(1, 2)
    return np.ascontiguousarray(tiles.reshape(rows * columns, CROP, CROP, channels))
