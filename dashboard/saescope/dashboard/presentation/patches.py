"""Patches of images: positions have a place in a picture, and an atom is a patch."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

from PIL import Image

from saescope.dashboard.components.pictures import FORMATS, PatchGrid, PictureShape
from saescope.dashboard.components.position_codes import picture_stage
from saescope.dashboard.presentation.pixels import Pictures
from saescope.store.format.source import PatchDescription, VisionDescription


class GriddedPictures(Pictures):
    """Pictures with a grid of patches on them, in which an example has its place."""

    positions: ClassVar[str] = "patches"
    side: ClassVar[int] = 112  # a picture with a place in it needs more

    @property
    def gridded(self) -> PatchDescription | VisionDescription:
        """The source's description."""
        source = self.entry.source
        assert isinstance(source, PatchDescription | VisionDescription)
        return source

    @property
    def grid(self) -> PatchGrid | None:  # type: ignore[override]
        source, shape = self.gridded, self.picture_shape
        if shape is None:
            return None
        return PatchGrid(*source.grid, source.patch, source.stride, shape.height, shape.width, self.n_prefix)

    @property
    def n_prefix(self) -> int:
        """Positions before the patches."""
        return 0

    @property
    def about(self) -> list[str]:
        source = self.gridded
        step = f" every {source.stride} px" if source.stride != source.patch else ""
        return [f"{source.patch} × {source.patch}{self.colours} patches{step}"]

    def stage(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        image = self.picture(item)
        return None if image is None else self.picture_stage(image)

    def picture_stage(self, image: bytes) -> dict[str, Any] | None:
        if self.grid is None:
            return None
        opened = Image.open(io.BytesIO(image), formats=FORMATS)
        return picture_stage(image, opened.height, opened.width, self.grid)


class Patches(GriddedPictures):
    """Patches of pixels: an item is rebuilt from them."""

    describes: ClassVar = (PatchDescription,)

    @property
    def atom_shape(self) -> PictureShape | None:  # type: ignore[override]
        whole, patch = self.picture_shape, self.gridded.patch
        shape = None if whole is None else PictureShape(patch, patch, whole.channels)
        return shape if shape is not None and shape.size == self.entry.manifest.d_out else None
