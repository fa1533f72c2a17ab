"""Whole images as pixels: items, their reconstructions and atoms are pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.pictures import MAX_TILE, PatchGrid, PictureShape, heat_sprite, image_sprite
from saescope.dashboard.presentation.metadata import metadata_lines
from saescope.dashboard.presentation.presenter import MOST, Items, Presenter, written
from saescope.dashboard.state import links
from saescope.store.format.source import PixelDescription, VisionDescription
from saescope.store.numbers import count

if TYPE_CHECKING:
    from saescope.store.records import Example


class Pictures(Presenter):
    """Items that are pictures, with or without a grid of positions on them."""

    takes_pictures: ClassVar[bool] = True
    side: ClassVar[int] = 80
    """Aim for the longer side of an example in CSS pixels."""
    grid: PatchGrid | None = None
    """Where the positions lie; None where an item is one position."""

    @property
    def description(self) -> PixelDescription | VisionDescription:
        """The source's description."""
        source = self.entry.source
        assert isinstance(source, PixelDescription | VisionDescription)
        return source

    @property
    def picture_shape(self) -> PictureShape | None:  # type: ignore[override]
        height, width, channels = self.description.input_shape
        return PictureShape(height, width, channels) if channels in (1, 3) else None

    @property
    def value_range(self) -> tuple[float, float]:  # type: ignore[override]
        low, high = self.description.value_range
        return (low, high) if high > low else (0.0, 1.0)

    @property
    def colours(self) -> str:
        """' grey' or ' colour', where that is known."""
        return f" {self.description.image_mode}" if self.description.image_mode else ""

    def picture(self, item: Mapping[str, Any]) -> bytes | None:
        return item.get("image")

    def can_draw(self, item: Mapping[str, Any]) -> bool:
        return bool(item.get("image"))

    def _scale(self, height: int, width: int) -> int:
        """Whole factor that brings a picture of this size near the side that is aimed at."""
        return max(1, round(self.side / max(height, width)))

    @property
    def room(self) -> int:
        shape = self.picture_shape
        if shape is None:
            return super().room
        height, width = min(shape.height, MAX_TILE), min(shape.width, MAX_TILE)
        scale = self._scale(height, width)
        rows = -(-MOST // max(1, 950 // (width * scale + 6)))
        return min(rows, 3) * (height * scale + 23)

    def draw_examples(
        self, examples: Sequence[Example], items: Items, *, key: str, strongest: float, whole: bool
    ) -> None:
        sprite = image_sprite([items[e.item_id]["image"] for e in examples])
        grid = self.grid
        if grid is not None and (grid.height, grid.width) != (sprite.height, sprite.width):
            grid = None  # the pictures were reduced: places in them would be wrong
        overlay = None
        if grid is not None:
            overlay = heat_sprite(np.stack([_heat(grid, e) for e in examples]), strongest)
        tiles = []
        for example in examples:
            corner = None if grid is None else grid.corner(example.position)
            place = None if grid is None or corner is None else (*corner, grid.patch, grid.patch)
            tip = [f"activation {written(example.activation)}", f"item {count(example.item_id)}"]
            if grid is not None:
                tip.append(grid.name(example.position))
            tiles.append(
                Tile(
                    example.item_id,
                    "\n".join(tip + metadata_lines(items[example.item_id])),
                    written(example.activation),
                    frame=place,
                    mark=float(example.activation),
                )
            )
        leads_back = examples[0].feature_id if self.by_position else None
        picture_tiles(
            tiles,
            sprite,
            key=key,
            label="Examples",
            layout="strip",
            scale=self._scale(sprite.height, sprite.width),
            overlay=overlay,
            href=links.href("reconstructions", sae=self.entry.sae_id, feature=leads_back) + "&item=",
            room=MOST,
        )


class Pixels(Pictures):
    """Whole images: an item is one position, and an atom is a picture of its size."""

    describes: ClassVar = (PixelDescription,)

    @property
    def atom_shape(self) -> PictureShape | None:  # type: ignore[override]
        shape = self.picture_shape
        return shape if shape is not None and shape.size == self.entry.manifest.d_out else None

    @property
    def about(self) -> list[str]:
        height, width, _ = self.description.input_shape
        return [f"{height} × {width}{self.colours} images"]


def _heat(grid: PatchGrid, example: Example) -> np.ndarray:
    if example.window_activations is None:
        return np.zeros((grid.height, grid.width))
    return grid.spread(np.asarray(example.window_activations), example.window_start or 0)
