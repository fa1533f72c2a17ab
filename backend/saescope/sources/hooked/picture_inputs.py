"""Pictures as a vision model takes them, and back to what people can look at.

Shape symbols: `item` pictures, `height`, `width`, `channels` as given, `model_height`, `model_width` as the model takes
them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from saescope.models.loading import load_image_processor
from saescope.models.options import ModelOptions
from saescope.progress import SILENT, Progress
from saescope.store.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import BaseImageProcessor


class PictureInputs:
    """A model's image processor: it resizes, crops and normalises; `shown` takes the normalisation back."""

    def __init__(self, processor: BaseImageProcessor) -> None:
        self._processor: Any = processor

    @classmethod
    def of(cls, options: ModelOptions, progress: Progress = SILENT) -> PictureInputs:
        """The processor that belongs to a model. Raises `CheckpointError` where there is none."""
        return cls(load_image_processor(options, progress))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides `prepare`, JSON-ready."""
        return dict(json.loads(self._processor.to_json_string()))

    def prepare(
        self, pictures: UInt8[np.ndarray, "item height width channels"], are_fitted: bool = False
    ) -> Float[Tensor, "item 3 model_height model_width"]:
        """Pixel values for the model. Grey pictures are given as colour ones whose channels are equal.

        Pictures that come from `fit` (`are_fitted`) are normalised only.
        """
        given = [_coloured(picture) for picture in pictures]
        settings = {"do_resize": False, "do_center_crop": False} if are_fitted else {}
        values = self._processor(images=given, return_tensors="pt", **settings)["pixel_values"]
        if values.ndim != 4 or values.shape[1] != 3:
            raise CheckpointError(
                f"the image processor {type(self._processor).__name__} makes arrays of shape {list(values.shape)}; "
                "expected [pictures, 3, height, width]",
                "use a vision transformer that takes each picture as one array",
            )
        return values.to(torch.float32)

    def fit(
        self, picture: UInt8[np.ndarray, "height width channels"]
    ) -> UInt8[np.ndarray, "model_height model_width 3"]:
        """A picture of any size as the model sees it."""
        return self.shown(self.prepare(picture[None]))[0]

    def shown(
        self, values: Float[Tensor, "item 3 model_height model_width"]
    ) -> UInt8[np.ndarray, "item model_height model_width 3"]:
        """8-bit pictures as the model sees them: resized and cropped, in their own colours."""
        colours = values.to("cpu", torch.float32)
        if getattr(self._processor, "do_normalize", False):
            mean, std = (
                torch.tensor(getattr(self._processor, name)).view(1, 3, 1, 1) for name in ("image_mean", "image_std")
            )
            colours = colours * std + mean
        if getattr(self._processor, "do_rescale", False):
            colours = colours / float(getattr(self._processor, "rescale_factor", 1 / 255))
        return colours.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _coloured(picture: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    return Image.fromarray(np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture)
