"""Pictures as PNG bytes."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def encode_png(image: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """An 8-bit grey (1 channel) or RGB (3 channels) PNG, packed fast rather than small."""
    assert image.dtype == np.uint8
    assert image.shape[2] in (1, 3), f"{image.shape[2]} channels"
    packed = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(packed, "PNG", compress_level=1)
    return packed.getvalue()
