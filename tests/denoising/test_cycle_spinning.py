"""The mean over shifts of a denoiser."""

from __future__ import annotations

import numpy as np
import pytest

from saescope.denoising.cycle_spinning import SHIFTS, cycle_spun

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 7, 5, 1), (1, 1, 1, 3), (3, 8, 8, 3)])
def test_what_changes_nothing_gives_the_pictures_back(shape: tuple[int, ...]) -> None:
    pictures = RANDOM.random(shape).astype(np.float32)
    found = cycle_spun(pictures, lambda given: given)
    np.testing.assert_allclose(found, pictures, rtol=1e-6)
    assert found.dtype == np.float32


def test_it_is_the_mean_over_shifts_pixel_by_pixel() -> None:
    """A denoiser whose answer depends on where a pixel stands in the picture, against loops."""
    height, width = 6, 4
    pictures = RANDOM.random((2, height, width, 1)).astype(np.float32)
    where = np.arange(height * width).reshape(1, height, width, 1)
    expected = np.zeros_like(pictures, np.float64)
    for row in range(height):
        for column in range(width):
            seen = [
                pictures[:, row, column] * ((row - down) * width + column - right)
                for down, right in SHIFTS
                if 0 <= row - down < height and 0 <= column - right < width
            ]
            expected[:, row, column] = np.mean(seen, axis=0)
    np.testing.assert_allclose(cycle_spun(pictures, lambda given: given * where), expected, rtol=1e-5)
