"""Denoisers that learn nothing of pictures but two choices: the parameters of a filter, and a curve for its output.

Filters are scikit-image's and SciPy's, over pictures whose values lie between 0 and 1. Noise that is clipped to that
range darkens what is bright and brightens what is dark, which no filter undoes; so each is judged a second time,
followed by the monotone curve that brings its output nearest to the clean values of training pictures. The parameters
are those of a small grid with the best mean PSNR on training pictures, chosen for either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import ndimage, signal
from skimage import restoration
from sklearn.isotonic import isotonic_regression

from saescope.denoising.quality import Pictures, psnr, ssim

KNOTS = 128
"""Most knots of a curve."""
CURVED = "+curve"
"""Ends the name of a denoiser whose output goes through a curve."""

MOST_PSNR = 100.0
"""dB that a picture counts with at most where parameters are chosen: an equal one would decide alone."""

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Filter:
    """A classical denoiser, and what of it can be chosen."""

    name: str
    apply: Callable[..., Pictures]
    """Denoised pictures, from noisy ones and the parameters by name."""
    grid: tuple[Parameters, ...]
    """Parameters to choose from."""


def _each(function: Callable[..., np.ndarray], pictures: Pictures, **parameters: Any) -> Pictures:
    """A function of scikit-image over every picture: grey ones without the axis of channels, as it wants them."""
    grey = pictures.shape[3] == 1
    one = partial(function, channel_axis=None if grey else -1, **parameters)
    with ThreadPoolExecutor(2) as pool:  # what is compiled in it runs side by side
        found = np.stack(list(pool.map(one, pictures[..., 0] if grey else pictures)))
    return found[..., None] if grey else found


def _gaussian(x: Pictures, sigma: float) -> Pictures:
    found: Pictures = ndimage.gaussian_filter(x, (0, sigma, sigma, 0))
    return found


def _median(x: Pictures, size: int) -> Pictures:
    found: Pictures = ndimage.median_filter(x, (1, size, size, 1))
    return found


def _bilateral(x: Pictures, sigma_color: float, sigma_spatial: float) -> Pictures:
    return _each(restoration.denoise_bilateral, x, sigma_color=sigma_color, sigma_spatial=sigma_spatial)


def _nl_means(x: Pictures, h: float) -> Pictures:
    return _each(restoration.denoise_nl_means, x, h=h, patch_size=5, patch_distance=6)


def _tv(x: Pictures, weight: float) -> Pictures:
    return _each(restoration.denoise_tv_chambolle, x, weight=weight)


def _wavelet(x: Pictures, sigma: float) -> Pictures:
    return _each(restoration.denoise_wavelet, x, sigma=sigma, rescale_sigma=True)


def _wiener(x: Pictures, size: int) -> Pictures:
    found = x.copy()
    with np.errstate(divide="ignore", invalid="ignore"):  # it takes the mean where it has divided by a variance of 0
        for i, _, _, c in np.argwhere(np.ptp(x, axis=(1, 2), keepdims=True) > 0):
            found[i, :, :, c] = signal.wiener(x[i, :, :, c], size)
    return found


def _grid(**values: Sequence[float]) -> tuple[Parameters, ...]:
    found: tuple[dict[str, float], ...] = ({},)
    for name, each in values.items():
        found = tuple({**have, name: value} for have in found for value in each)
    return found


FILTERS = (
    Filter("gaussian", _gaussian, _grid(sigma=(0.3, 0.5, 0.7, 1.0, 1.3, 1.7))),
    Filter("median", _median, _grid(size=(3, 5, 7))),
    Filter("bilateral", _bilateral, _grid(sigma_color=(0.1, 0.3, 1.0), sigma_spatial=(1.0, 1.5))),
    Filter("nl_means", _nl_means, _grid(h=(0.05, 0.1, 0.2, 0.4, 0.8))),
    Filter("tv", _tv, _grid(weight=(0.03, 0.1, 0.2, 0.4, 0.8))),
    Filter("wavelet", _wavelet, _grid(sigma=(0.05, 0.1, 0.2, 0.4, 0.8))),
    Filter("wiener", _wiener, _grid(size=(3, 5, 7))),
)


@dataclass(frozen=True, eq=False)
class ToneCurve:
    """A monotone map of values: linear between its knots, constant beyond them."""

    x: Float[np.ndarray, " knot"]
    y: Float[np.ndarray, " knot"]

    def __call__(self, values: Pictures) -> Pictures:
        return np.interp(values, self.x, self.y)

    @classmethod
    def fitted(cls, values: Pictures, clean: Pictures) -> ToneCurve:
        """The monotone curve of least squared error, over the means of as many equal parts of the values."""
        order = np.argsort(values, axis=None, kind="stable")
        parts = np.array_split(order, min(KNOTS, len(order)))
        x = np.array([values.ravel()[part].mean() for part in parts], np.float64)
        y = np.array([clean.ravel()[part].mean() for part in parts], np.float64)
        weights = np.array([len(part) for part in parts], np.float64)
        x, place = np.unique(x, return_inverse=True)
        weight = np.bincount(place, weights)
        return cls(x, isotonic_regression(np.bincount(place, weights * y) / weight, sample_weight=weight))


@dataclass(frozen=True, eq=False)
class ClassicalDenoiser:
    """A filter with its parameters, and the curve that its output goes through, if any."""

    filter: Filter
    parameters: Parameters
    curve: ToneCurve | None
    psnr: float
    """Mean over the training pictures that it was chosen on, dB."""
    ssim: float
    """Likewise; NaN for pictures that are too small."""

    @property
    def name(self) -> str:
        """The filter's, and whether a curve follows."""
        return self.filter.name + (CURVED if self.curve is not None else "")

    @property
    def chosen(self) -> str:
        """The parameters in words."""
        return " ".join(f"{name}={value:g}" for name, value in self.parameters.items())

    def denoise(self, noisy: Pictures, low: float = 0.0, high: float = 1.0) -> Pictures:
        """Denoised pictures. Values from `low` to `high` are those that it was chosen on as 0 to 1."""
        found = self.filter.apply(_unit(noisy, low, high), **self.parameters)
        return _finished(found, self.curve) * (high - low) + low


def choose(clean: Pictures, noisy: Pictures, low: float = 0.0, high: float = 1.0) -> Iterator[ClassicalDenoiser]:
    """Every filter with its best parameters on training pictures, as it is and followed by its curve."""
    clean, noisy = _unit(clean, low, high), _unit(noisy, low, high)
    for each in FILTERS:
        best: dict[bool, tuple[float, Parameters, ToneCurve | None, Pictures]] = {}
        for parameters in each.grid:
            filtered = each.apply(noisy, **parameters)
            for curve in (None, ToneCurve.fitted(filtered, clean)):
                found, curved = _finished(filtered, curve), curve is not None
                reached = float(np.minimum(psnr(clean, found, 1.0), MOST_PSNR).mean())
                if curved not in best or reached > best[curved][0]:
                    best[curved] = reached, parameters, curve, found
        for _, (reached, parameters, curve, found) in sorted(best.items()):
            yield ClassicalDenoiser(each, parameters, curve, reached, float(ssim(clean, found, 1.0).mean()))


def _unit(pictures: Pictures, low: float, high: float) -> Pictures:
    return (pictures.astype(np.float64) - low) / (high - low)


def _finished(filtered: Pictures, curve: ToneCurve | None) -> Pictures:
    return np.clip(filtered if curve is None else curve(filtered), 0.0, 1.0)
