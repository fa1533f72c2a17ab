"""Whole images: each item is one position of width H * W * C."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from saescope.sources.images.image_source import ImageSource
from saescope.sources.images.image_stack import to_float
from saescope.store.format.source import PixelDescription


class PixelSource(ImageSource):
    """Pixels of whole images, row by row, channels last."""

    @property
    def kind(self) -> str:
        return "pixels"

    def describe(self) -> PixelDescription:
        return PixelDescription(**self._about())

    @property
    def d_in(self) -> int:
        return math.prod(self.input_shape)

    @property
    def positions_per_item(self) -> int:
        return 1

    def _activations(
        self, images: Num[np.ndarray, "item height width channels"]
    ) -> Float[Tensor, "item position d_in"]:
        return to_float(torch.from_numpy(images), self._stack.value_range).reshape(len(images), 1, self.d_in)

    def _rows(
        self, item_ids: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Float[Tensor, "row d_in"]:
        resident = self._stack.resident
        if resident is None:
            images = torch.from_numpy(self._stack.gather(item_ids))
        else:
            images = torch.from_numpy(resident).index_select(0, torch.from_numpy(item_ids))
        return to_float(images, self._stack.value_range).reshape(len(item_ids), self.d_in)
