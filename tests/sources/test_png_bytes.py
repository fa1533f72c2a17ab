from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from saescope.sources.images.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (5, 9, 3), (64, 33, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_pillow_reads_back_every_pixel(shape: tuple[int, int, int], kind: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8) if kind == "noise" else np.full(shape, 200, np.uint8)
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        picture.verify()  # checks every chunk's CRC
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        assert picture.format == "PNG"
        assert picture.mode == {1: "L", 3: "RGB"}[shape[2]]
        np.testing.assert_array_equal(np.asarray(picture).reshape(shape), image)


def test_views_encode_as_their_values() -> None:
    image = np.random.default_rng(1).integers(0, 256, (3, 8, 6), dtype=np.uint8)
    moved = np.moveaxis(image, 0, 2)
    assert encode_png(moved) == encode_png(np.ascontiguousarray(moved))
