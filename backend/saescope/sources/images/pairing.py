"""Two noisy captures of the same fields, one of which stands in for the clean one (Lehtinen et al. 2018, Noise2Noise).

Captures that are shifted teach a model to shift: the shift that fits both best is found by cross-correlation over a
sample of pictures together (scikit-image's `phase_cross_correlation`, unnormalised, since noise would swamp a
normalised one), and anything from half a pixel on is refused, unless chance explains it: where the fields show little,
the best fit is that of the noise. So the fit has to gain over no shift in most of the pictures, by a t statistic.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from saescope.sources.images.image_source import ImageSource
from saescope.store.errors import DataError

LARGEST_SHIFT = 0.5
"""Pixels along an axis from which on captures are not taken for aligned."""
SUBPIXELS = 10
"""Parts of a pixel that a shift is found to."""
PICTURES, SIDE = 32, 256
"""Pictures that are compared, and pixels of a side about their middle, at most."""
LEAST_T, FEWEST = 4.0, 8
"""t statistic of the pictures' gains from which on a shift is believed; fewer pictures have none, and are."""


def check_pair(first: ImageSource, second: ImageSource, names: tuple[str, str]) -> None:
    """`DataError` where the two are not captures of the same fields, one after another in the same order."""
    if first.n_items != second.n_items:
        raise DataError(
            f"{names[0]} has {first.n_items:,} pictures, its pair {names[1]} {second.n_items:,}",
            "give two captures of every field, in the same order",
        )
    if first.input_shape != second.input_shape:
        sizes = [" x ".join(map(str, source.input_shape)) for source in (first, second)]
        raise DataError(
            f"{names[0]} has pictures of {sizes[0]} (height, width, channels), its pair {names[1]} of {sizes[1]}",
            "give two captures of the same size",
        )
    if first.data_sha256 == second.data_sha256:
        raise DataError(
            f"{names[0]} and its pair {names[1]} hold the same values: their noise would be learned too",
            "give two captures, each with noise of its own",
        )
    for source, name in zip((first, second), names, strict=True):
        if not _details(source, _middle(source)).any():
            raise DataError(
                f"the pictures of {name} that were looked at show nothing: each is of one grey throughout",
                "give two captures of fields with something in them",
            )
    later, down, right = _shift(first, second)
    if abs(later) >= LARGEST_SHIFT:
        raise DataError(
            f"the pictures of {names[1]} fit those that stand {abs(later):.0f} places "
            f"{'after' if later > 0 else 'before'} them in {names[0]} best",
            "give both captures in the same order",
        )
    if max(abs(down), abs(right)) >= LARGEST_SHIFT:
        raise DataError(
            f"the pictures of {names[1]} are shifted against those of {names[0]} by {0.0 - down:g} pixels down and "
            f"{0.0 - right:g} to the right",
            "align the captures first, or leave --pair out",
        )


def _shift(first: ImageSource, second: ImageSource) -> tuple[float, float, float]:
    """By how many pictures, pixels down and pixels to the right the second would have to move to fit the first."""
    from skimage.registration import phase_cross_correlation  # a large package, for pairs alone

    a, b = (_details(source, _middle(source)) for source in (first, second))
    shift, _, _ = phase_cross_correlation(a, b, upsample_factor=SUBPIXELS, normalization=None)
    moved = np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(b), shift)).real
    gains = (a * (moved - b)).sum(axis=(1, 2))
    if len(gains) >= FEWEST and gains.mean() < LEAST_T * gains.std(ddof=1) / np.sqrt(len(gains)):
        return 0.0, 0.0, 0.0
    return float(shift[0]), float(shift[1]), float(shift[2])


def _middle(source: ImageSource) -> int:
    """The first picture that is looked at."""
    return max(0, (source.n_items - PICTURES) // 2)


def _details(source: ImageSource, start: int) -> Float[np.ndarray, "item height width"]:
    """Some pictures in a row in grey, about their middle, without their means and fading towards the edges."""
    height, width, _ = source.input_shape
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    stop = min(start + PICTURES, source.n_items)
    pictures = source.stored(start, stop)[:, top : top + SIDE, left : left + SIDE].mean(axis=3, dtype=np.float64)
    pictures -= pictures.mean(axis=(1, 2), keepdims=True)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in pictures.shape[1:]))
    return np.asarray(pictures * window, np.float64)
