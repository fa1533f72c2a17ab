"""PSNR and SSIM of many pictures are scikit-image's of each."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from saescope.denoising.quality import psnr, ssim


@pytest.mark.parametrize("shape", [(9, 11, 1), (28, 28, 3), (7, 7, 1)])
@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_both_equal_scikit_image(shape: tuple[int, int, int], data_range: float) -> None:
    random = np.random.default_rng(0)
    clean = random.random((4, *shape)) * data_range
    noisy = np.clip(clean + data_range * random.normal(0, 0.2, clean.shape), 0, data_range)
    expected = [peak_signal_noise_ratio(c, n, data_range=data_range) for c, n in zip(clean, noisy, strict=True)]
    np.testing.assert_allclose(psnr(clean, noisy, data_range), expected, rtol=1e-12)
    expected = [
        structural_similarity(c, n, data_range=data_range, channel_axis=-1) for c, n in zip(clean, noisy, strict=True)
    ]
    np.testing.assert_allclose(ssim(clean, noisy, data_range), expected, rtol=1e-9)


def test_equal_pictures_have_no_noise_and_small_ones_no_windows() -> None:
    clean = np.random.default_rng(0).random((2, 6, 9, 1))
    assert np.isposinf(psnr(clean, clean, 1.0)).all()
    assert np.isnan(ssim(clean, clean, 1.0)).all()
