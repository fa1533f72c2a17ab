"""Classical denoisers are those of scikit-image and SciPy, and their parameters the best of the grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal
from skimage import restoration
from sklearn.datasets import load_digits, load_sample_images
from sklearn.isotonic import IsotonicRegression

from saescope.denoising.classical import FILTERS, ToneCurve, choose
from saescope.denoising.quality import psnr

RANDOM = np.random.default_rng(3)
DIGITS = load_digits().images[:40, :, :, None] / 16
NOISY_DIGITS = np.clip(DIGITS + RANDOM.normal(0, 0.3, DIGITS.shape), 0, 1)
PHOTOGRAPH = load_sample_images().images[0][100:132, 200:232] / 255
NOISY_COLOUR = np.clip(PHOTOGRAPH[None] + RANDOM.normal(0, 0.2, (2, 32, 32, 3)), 0, 1)


def by_plane(filtered: Callable[..., Any]) -> Callable[..., Any]:
    def of_picture(x: Any, size: Any, **_: Any) -> Any:
        return np.stack([filtered(x[..., c], size) for c in range(x.shape[-1])], -1)

    return of_picture


DIRECT: dict[str, Callable[..., Any]] = {
    "gaussian": lambda x, sigma: by_plane(ndimage.gaussian_filter)(x, sigma),
    "median": by_plane(ndimage.median_filter),
    "bilateral": lambda x, **p: restoration.denoise_bilateral(x, **p, channel_axis=-1),
    "nl_means": lambda x, h: restoration.denoise_nl_means(x, h=h, patch_size=5, patch_distance=6, channel_axis=-1),
    "tv": lambda x, weight: restoration.denoise_tv_chambolle(x, weight=weight, channel_axis=-1),
    "wavelet": lambda x, sigma: restoration.denoise_wavelet(x, sigma=sigma, rescale_sigma=True, channel_axis=-1),
    "wiener": by_plane(signal.wiener),
}


@pytest.mark.parametrize("each", FILTERS, ids=lambda f: f.name)
def test_a_filter_is_the_librarys_of_each_picture(each: Any) -> None:
    for parameters in each.grid:
        found = each.apply(NOISY_COLOUR, **parameters)
        for picture, noisy in zip(found, NOISY_COLOUR, strict=True):
            np.testing.assert_allclose(picture, DIRECT[each.name](noisy, **parameters), atol=1e-9)


def test_wiener_leaves_a_plane_without_variance_as_it_is() -> None:
    wiener = next(f for f in FILTERS if f.name == "wiener")
    flat = np.full((1, 9, 9, 1), 0.25)
    assert np.array_equal(wiener.apply(flat, size=3), flat)


def test_the_best_parameters_are_chosen_with_and_without_a_curve() -> None:
    chosen = {denoiser.name: denoiser for denoiser in choose(DIGITS, NOISY_DIGITS)}
    assert list(chosen) == [name for f in FILTERS for name in (f.name, f"{f.name}+curve")]
    for each in FILTERS:
        plain, curved = chosen[each.name], chosen[f"{each.name}+curve"]
        reached = [float(psnr(DIGITS, np.clip(each.apply(NOISY_DIGITS, **p), 0, 1), 1.0).mean()) for p in each.grid]
        assert plain.psnr == pytest.approx(max(reached))
        assert plain.parameters == each.grid[int(np.argmax(reached))]
        assert curved.psnr > plain.psnr
        for denoiser in (plain, curved):
            assert float(psnr(DIGITS, denoiser.denoise(NOISY_DIGITS), 1.0).mean()) == pytest.approx(denoiser.psnr)


def test_values_of_another_range_are_denoised_alike() -> None:
    first = next(choose(DIGITS, NOISY_DIGITS))
    scaled = first.denoise(NOISY_DIGITS * 200 - 100, -100, 100)
    np.testing.assert_allclose(scaled, first.denoise(NOISY_DIGITS) * 200 - 100, atol=1e-9)
    assert first.chosen == f"sigma={first.parameters['sigma']:g}"


def test_a_curve_is_the_monotone_one_of_least_squared_error() -> None:
    values = RANDOM.random((1, 10, 10, 1))
    clean = np.clip(values**2 + RANDOM.normal(0, 0.1, values.shape), 0, 1)
    curve = ToneCurve.fitted(values, clean)
    expected = IsotonicRegression(out_of_bounds="clip").fit(values.ravel(), clean.ravel())
    at = np.linspace(-0.5, 1.5, 99)  # fewer values than knots: the very regression
    np.testing.assert_allclose(curve(at), expected.predict(at), atol=1e-9)
    many = RANDOM.random((8, 40, 40, 1))
    close = ToneCurve.fitted(many, many**2)
    assert len(close.x) == 128
    assert np.abs(close(many) - many**2).max() < 0.01
