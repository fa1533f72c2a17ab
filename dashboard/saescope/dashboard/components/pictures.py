"""Atoms, inputs and heat maps as sprites: many small pictures in one PNG.

A sprite is cut into tiles by the browser (see `picture_tiles`). Tiles are separated by a gutter of one pixel, so that
no tile bleeds into the next when the browser scales by a fraction. Shape symbols: `n` pictures, `h` rows, `w` columns,
`c` channels, `d` width of an atom.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from saescope.dashboard.components import palettes
from saescope.dashboard.theme import Scheme

AtomMode = Literal["diverging", "grey", "colour"]
Floats = npt.NDArray[np.floating[Any]]

GUTTER = 1
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What a picture of a store or of a reader may be. Others' decoders are not tried: some start programs (EPS)."""
MAX_TILE = 256  # pictures of data sets are shown at most this wide and high; larger ones are reduced


@dataclass(frozen=True)
class PictureShape:
    """Height and width in pixels and number of channels (1 = grey, 3 = colour) of one picture."""

    height: int
    width: int
    channels: int

    @property
    def size(self) -> int:
        return self.height * self.width * self.channels

    def scale_for(self, pixels: int) -> int:
        """Largest whole factor with which the longer side stays within `pixels` (at least 1)."""
        return max(1, pixels // max(self.height, self.width))


@dataclass(frozen=True)
class Sprite:
    """`n_tiles` pictures of `height` x `width` pixels in one PNG, row by row, `columns` in a row."""

    png: bytes
    n_tiles: int
    columns: int
    height: int
    width: int

    def payload(self) -> dict[str, Any]:
        """What the browser needs to cut it."""
        return {
            "src": "data:image/png;base64," + base64.b64encode(self.png).decode("ascii"),
            "n": self.n_tiles,
            "columns": self.columns,
            "height": self.height,
            "width": self.width,
            "gutter": GUTTER,
        }


def _sprite(tiles: npt.NDArray[np.uint8], table: palettes.Table | None = None) -> Sprite:
    """Lay out tiles, uint8 [n, h, w] (grey levels, or steps of `table`) or [n, h, w, 3], near a square."""
    n, height, width = tiles.shape[:3]
    columns = max(1, min(n, round((n * height / width) ** 0.5))) if n else 1
    rows = max(1, -(-n // columns))
    padded = np.zeros((rows * columns, height + GUTTER, width + GUTTER, *tiles.shape[3:]), dtype=np.uint8)
    padded[:n, :height, :width] = tiles
    grid = padded.reshape(rows, columns, *padded.shape[1:]).swapaxes(1, 2)
    sheet = np.ascontiguousarray(grid).reshape(rows * (height + GUTTER), columns * (width + GUTTER), *tiles.shape[3:])
    image = Image.fromarray(sheet)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 3}
    if table is not None:
        image = image.convert("L")
        image.putpalette(table[:, :3].tobytes())
        if (table[:, 3] < 255).any():
            options["transparency"] = table[:, 3].tobytes()
    image.save(buffer, "PNG", **options)
    return Sprite(buffer.getvalue(), n, columns, height, width)


def _signed_limits(values: Floats, limit: float | None) -> Floats:
    """Symmetric limit of each picture, [n, 1]: `limit`, or its own largest magnitude (1 where it is all zero)."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    own = np.abs(flat).max(axis=1, initial=0.0, keepdims=True) if limit is None else np.full((len(flat), 1), limit)
    return np.where(own > 0, own, 1.0)


def signed_sprite(
    values: Floats,
    *,
    limit: float | None = None,
    palette: palettes.SignedPalette = "diverging",
    scheme: Scheme = "light",
) -> Sprite:
    """Signed pictures [n, h, w]: zero is neutral and the limits are symmetric.

    Each picture has its own limit (its largest magnitude) unless a common `limit` is given; what lies beyond is
    clipped. NaN is drawn as zero.
    """
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    scaled = values / _signed_limits(values, limit).reshape(-1, 1, 1)
    steps = np.round(palettes.ZERO * (1 + np.clip(scaled, -1, 1))).astype(np.uint8)
    return _sprite(steps, palettes.signed(palette, scheme))


def colour_sprite(values: Floats, *, limit: float | None = None) -> Sprite:
    """Signed colour pictures [n, h, w, 3] around mid-grey: zero is (128, 128, 128), limits as in `signed_sprite`."""
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    scaled = np.clip(values / _signed_limits(values, limit).reshape(-1, 1, 1, 1), -1, 1)
    return _sprite(np.round(128 + 127 * scaled).astype(np.uint8))


def luminance(values: Floats) -> Floats:
    """Luma of colour values [..., 3], weights of ITU-R BT.601; signed values keep their sign where channels agree."""
    weighted: Floats = np.asarray(values, dtype=np.float64) @ np.array([0.299, 0.587, 0.114])
    return weighted


def atom_sprite(
    atoms: Floats,
    shape: PictureShape,
    mode: AtomMode | None = None,
    *,
    limit: float | None = None,
    scheme: Scheme = "light",
) -> Sprite:
    """Atoms [n, d] as pictures of `shape`.

    `mode` None draws colour atoms as colour around mid-grey and grey ones as diverging. 'diverging' and 'grey' draw
    the luminance of colour atoms; 'colour' needs three channels and otherwise falls back to 'diverging'.
    """
    pictures = np.asarray(atoms).reshape(-1, shape.height, shape.width, shape.channels)
    if mode is None:
        mode = "colour" if shape.channels == 3 else "diverging"
    if shape.channels == 3 and mode == "colour":
        return colour_sprite(pictures, limit=limit)
    flat = luminance(pictures) if shape.channels == 3 else pictures[..., 0]
    return signed_sprite(flat, limit=limit, palette="grey" if mode == "grey" else "diverging", scheme=scheme)


def barcode_sprite(atoms: Floats, *, width: int = 96, height: int = 24, scheme: Scheme = "light") -> Sprite:
    """Atoms [n, d] that are no pictures, as strips: one bar for each dimension, or, where there are more than `width`
    of them, for the value of largest magnitude in each of `width` equal runs of dimensions."""
    atoms = np.asarray(atoms, dtype=np.float64)
    n, d = atoms.shape
    if d > width:
        starts = np.arange(width) * d // width
        high, low = np.maximum.reduceat(atoms, starts, axis=1), np.minimum.reduceat(atoms, starts, axis=1)
        atoms = np.where(high >= -low, high, low)
    return signed_sprite(np.broadcast_to(atoms[:, None, :], (n, height, atoms.shape[1])), scheme=scheme)


def value_sprite(values: Floats, low: float = 0.0, high: float = 1.0) -> Sprite:
    """Pictures of unsigned values [n, h, w, c] as they are: `low` is black, `high` is white or full colour."""
    span = high - low if high > low else 1.0
    levels = np.clip((np.nan_to_num(np.asarray(values, dtype=np.float64)) - low) / span, 0, 1)
    bytes_ = np.round(255 * levels).astype(np.uint8)
    return _sprite(bytes_[..., 0] if bytes_.shape[-1] == 1 else bytes_)


def image_sprite(images: Sequence[bytes]) -> Sprite:
    """Encoded pictures (PNG) as one sprite; grey if all are. Tiles have the size of the largest, at most `MAX_TILE`."""
    opened = [Image.open(io.BytesIO(data), formats=FORMATS) for data in images]
    grey = all(image.mode in ("1", "L", "I", "I;16", "LA") for image in opened)
    ready = [image.convert("L" if grey else "RGB") for image in opened]
    for image in ready:
        image.thumbnail((MAX_TILE, MAX_TILE))
    height = max((image.height for image in ready), default=1)
    width = max((image.width for image in ready), default=1)
    tiles = np.zeros((len(ready), height, width, *(() if grey else (3,))), dtype=np.uint8)
    for tile, image in zip(tiles, ready, strict=True):
        tile[: image.height, : image.width] = np.asarray(image)
    return _sprite(tiles)


def image_pixels(image: bytes, shape: PictureShape) -> Floats | None:
    """An encoded picture as values in 0 ... 1, float64 [h, w, c]; None where it does not have `shape`."""
    opened = Image.open(io.BytesIO(image), formats=FORMATS)
    if (opened.height, opened.width) != (shape.height, shape.width):
        return None
    pixels = np.asarray(opened.convert("L" if shape.channels == 1 else "RGB"), dtype=np.float64) / 255
    return pixels.reshape(shape.height, shape.width, shape.channels)


@dataclass(frozen=True)
class PatchGrid:
    """Where the positions of a patch source lie: `rows` x `columns` patches, `stride` pixels apart, row-major.

    The first `prefix` positions are no patches but a vision model's own (its class token, registers).
    """

    rows: int
    columns: int
    patch: int
    stride: int
    height: int
    width: int
    prefix: int = 0

    def row_and_column(self, position: int) -> tuple[int, int] | None:
        """Place of the patch at `position` in the grid; None for a position that is no patch."""
        if not self.prefix <= position < self.prefix + self.rows * self.columns:
            return None
        return divmod(position - self.prefix, self.columns)

    def corner(self, position: int) -> tuple[int, int] | None:
        """Top and left pixel of the patch at `position`; None for a position that is no patch."""
        place = self.row_and_column(position)
        return None if place is None else (place[0] * self.stride, place[1] * self.stride)

    def name(self, position: int) -> str:
        """'patch 5 (row 0, column 5)', or what a position without a patch is called."""
        place = self.row_and_column(position)
        if place is not None:
            return f"patch {position - self.prefix} (row {place[0]}, column {place[1]})"
        return "class token" if position == 0 else f"register {position}"

    def spread(self, activations: Floats, start: int = 0) -> Floats:
        """Activations of the positions from `start` on, over the pixels [height, width]: the strongest patch that
        covers a pixel counts, by magnitude; 0 where none does."""
        out = np.zeros((self.height, self.width), dtype=np.float64)
        values = np.asarray(activations, dtype=np.float64)
        for offset in np.argsort(np.abs(values), kind="stable"):
            corner = self.corner(start + int(offset))
            if values[offset] == 0 or corner is None:
                continue
            top, left = corner
            out[top : top + self.patch, left : left + self.patch] = values[offset]
        return out


def heat_sprite(heats: Floats, strongest: float) -> Sprite:
    """Activation maps [n, h, w] for laying over pictures: transparent at zero, orange at `strongest`, by magnitude."""
    span = strongest if strongest > 0 else 1.0
    levels = np.clip(np.abs(np.nan_to_num(np.asarray(heats, dtype=np.float64))) / span, 0, 1)
    return _sprite(np.round((palettes.STEPS - 1) * levels).astype(np.uint8), palettes.sequential())
