"""Pictures: as pixels, as patches of pixels, or through a vision model."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image, ImageOps

from saescope.autoencoders.protocol import Autoencoder
from saescope.models.hooked import HookedModel
from saescope.models.loading import load_model
from saescope.probing.probe import Probe, check_model, model_options
from saescope.probing.result import ProbeResult
from saescope.sources.hooked.picture_inputs import PictureInputs
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.image_source import ImageSource
from saescope.sources.images.image_stack import ArrayStack, mode_of
from saescope.sources.images.patches import PatchSource
from saescope.sources.images.pictures import pixels_of
from saescope.sources.images.pixels import PixelSource
from saescope.sources.images.png import encode_png
from saescope.store.errors import DataError
from saescope.store.format.source import PatchDescription, PixelDescription, VisionDescription


class _PictureProbe(Probe):
    takes = "picture"

    def text(self, prompt: str) -> ProbeResult:
        raise DataError("this SAE takes pictures, not texts", "drop a picture")


class PixelProbe(_PictureProbe):
    """For images as pixels, whole or in patches. A picture is cropped about its middle to the shape of the source's
    images, brought to their size and number of channels, and its 0..255 to the range of their values."""

    def __init__(self, sae: Autoencoder, source: PixelDescription, device: str) -> None:
        super().__init__(sae, device)
        self._source = source

    def picture(self, image: Image.Image) -> ProbeResult:
        height, width, channels = self._source.input_shape
        pixels = _fitted(pixels_of(image, mode_of(channels), "the picture"), height, width)
        (batch,) = self._as_source(pixels).batches()
        ids, values = self._codes(batch.activations[0])
        return ProbeResult(None, None, [True] * len(ids), ids, values, encode_png(pixels))

    def _as_source(self, pixels: UInt8[np.ndarray, "height width channels"]) -> ImageSource:
        """The picture as the only item of a source like the SAE's."""
        stack = ArrayStack(*self._values(pixels[None]))
        about: dict[str, Any] = {"path": "the picture", "format": "picture", "split": None}
        if isinstance(self._source, PatchDescription):
            return PatchSource(ImageSet(stack), patch=self._source.patch, stride=self._source.stride, **about)
        return PixelSource(ImageSet(stack), **about)

    def _values(
        self, pixels: UInt8[np.ndarray, "item height width channels"]
    ) -> tuple[Num[np.ndarray, "item height width channels"], tuple[float, float] | None]:
        """Values and the range that stands for 0..1, as the source has them: 8-bit ones are scaled to 0..1; floats that
        are taken as they are reach from the lowest to the highest of the source's values."""
        if self._source.stored_range is not None:
            return pixels, (0.0, 255.0)
        low, high = self._source.value_range
        return (low + pixels.astype(np.float32) / np.float32(255) * (high - low)).astype(np.float32), None


class VisionProbe(_PictureProbe):
    """For images through a model: the picture goes through the model's image processor and the model."""

    def __init__(self, sae: Autoencoder, source: VisionDescription, device: str) -> None:
        super().__init__(sae, device)
        self._source = source
        options = model_options(source, device)
        loaded = load_model(options)
        self._hooked = HookedModel(loaded, source.hook, source.head)
        check_model(source, loaded.fingerprint, self._hooked.width, sae)
        self._inputs = PictureInputs.of(options)

    def picture(self, image: Image.Image) -> ProbeResult:
        channels = 3 if self._source.stored_shape is None else self._source.stored_shape[2]
        pixels = pixels_of(image, mode_of(channels), "the picture")
        values = self._inputs.prepare(pixels[None])
        height, width, _ = self._source.input_shape
        if tuple(values.shape[2:]) != (height, width):
            raise DataError(
                f"the model sees pictures of {height} x {width} pixels in this store, but this one as "
                f"{values.shape[2]} x {values.shape[3]}",
                "crop the picture to the shape of the store's pictures",
            )
        ids, codes = self._codes(self._hooked.activations(values)[0])
        n_prefix = 0 if self._source.special_positions == "in" else self._source.prefix_positions
        evaluated = [position >= n_prefix for position in range(len(ids))]
        return ProbeResult(None, None, evaluated, ids, codes, encode_png(self._inputs.shown(values)[0]))


def _fitted(
    pixels: UInt8[np.ndarray, "given_height given_width channels"], height: int, width: int
) -> UInt8[np.ndarray, "height width channels"]:
    """The largest part about the middle that has the shape height x width, resized to it."""
    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    resized = np.array(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))
    return resized.reshape(height, width, pixels.shape[2])
