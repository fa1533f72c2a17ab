"""Pictures inside a vision model: positions are the model's patches, and atoms, whose width may equal that of a patch
by chance, are no pictures."""

from __future__ import annotations

from typing import ClassVar

from saescope.dashboard.presentation.hooks import place_words
from saescope.dashboard.presentation.patches import GriddedPictures
from saescope.store.format.source import VisionDescription


class VisionPatches(GriddedPictures):
    """What fires at each of the model's positions."""

    describes: ClassVar = (VisionDescription,)
    by_position: ClassVar[bool] = True

    @property
    def n_prefix(self) -> int:
        source = self.gridded
        return source.prefix_positions if isinstance(source, VisionDescription) else 0

    @property
    def about(self) -> list[str]:
        source = self.gridded
        return [*super().about, *(place_words(source) if isinstance(source, VisionDescription) else [])]
