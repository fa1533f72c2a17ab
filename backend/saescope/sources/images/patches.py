"""Square patches of images: each item has a grid of positions of width P * P * C."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.image_source import ImageSource
from saescope.sources.images.image_stack import to_float
from saescope.sources.options import LabelChoice
from saescope.store.errors import OptionError
from saescope.store.format.source import PatchDescription


class PatchSource(ImageSource):
    """P x P patches whose corners lie `stride` pixels apart, row by row over the grid; pixels row by row, C last.

    Patches lie inside the image: up to stride - 1 rows and columns at its lower and right edge may be left uncovered.
    They are cut when asked for, never all at once.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        patch: int,
        stride: int | None = None,
        path: str,
        format: str,
        split: str | None,
        labels: LabelChoice | None = None,
        progress: Progress = SILENT,
    ) -> None:
        height, width, _ = images.stack.input_shape
        if patch > min(height, width):
            raise OptionError(
                f"{path}: patches of {patch} x {patch} pixels do not fit into images of {height} x {width}",
                f"use --patch {min(height, width)} or less",
            )
        self.patch, self.stride = patch, stride or patch
        self.grid = ((height - patch) // self.stride + 1, (width - patch) // self.stride + 1)
        super().__init__(images, path=path, format=format, split=split, labels=labels, progress=progress)

    @property
    def kind(self) -> str:
        return "patches"

    @property
    def d_in(self) -> int:
        return self.patch * self.patch * self.input_shape[2]

    @property
    def positions_per_item(self) -> int:
        return self.grid[0] * self.grid[1]

    def _windows(self, images: Tensor) -> Tensor:
        """View [item, grid_row, grid_column, P, P, C] of images [item, H, W, C]."""
        windows = images.unfold(1, self.patch, self.stride).unfold(2, self.patch, self.stride)
        return windows.permute(0, 1, 2, 4, 5, 3)

    def _activations(
        self, images: Num[np.ndarray, "item height width channels"]
    ) -> Float[Tensor, "item position d_in"]:
        windows = self._windows(torch.from_numpy(images))
        return to_float(windows, self._stack.value_range).reshape(len(images), self.positions_per_item, self.d_in)

    def _rows(
        self, item_ids: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Float[Tensor, "row d_in"]:
        images = self._stack.resident
        if images is None:
            distinct, item_ids = np.unique(item_ids, return_inverse=True)
            images = self._stack.gather(distinct)
        grid_rows, grid_columns = np.divmod(positions, self.grid[1])
        picked = self._windows(torch.from_numpy(images))[
            torch.from_numpy(item_ids), torch.from_numpy(grid_rows), torch.from_numpy(grid_columns)
        ]
        return to_float(picked, self._stack.value_range).reshape(len(positions), self.d_in)

    def describe(self) -> PatchDescription:
        height, width, _ = self.input_shape
        rows, columns = self.grid
        return PatchDescription(
            **self._about(),
            patch=self.patch,
            stride=self.stride,
            grid=self.grid,
            uncovered=(
                height - self.patch - (rows - 1) * self.stride,
                width - self.patch - (columns - 1) * self.stride,
            ),
        )
