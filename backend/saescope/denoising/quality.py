"""How near pictures are to the clean ones, for many at once: scikit-image's numbers.

PSNR = 10 log10(R^2 / mean (x - y)^2)      R the range that values can have, over all pixels and channels
SSIM: Wang et al. 2004, mean over the 7 x 7 windows that lie inside the picture, and over the channels
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

WINDOW = 7
"""Pixels of a side of SSIM's windows."""

Pictures = Float[np.ndarray, "item height width channels"]


def psnr(clean: Pictures, pictures: Pictures, data_range: float) -> Float[np.ndarray, " item"]:
    """Peak signal-to-noise ratio of each picture, dB; infinite where it is equal to the clean one."""
    error = np.square(pictures.astype(np.float64) - clean).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(data_range**2 / error)


def ssim(clean: Pictures, pictures: Pictures, data_range: float) -> Float[np.ndarray, " item"]:
    """Structural similarity of each picture; NaN where it is smaller than a window."""
    if min(clean.shape[1:3]) < WINDOW:
        return np.full(len(clean), np.nan)
    x, y = clean.astype(np.float64), pictures.astype(np.float64)
    n = WINDOW**2
    edge = WINDOW // 2

    def mean(values: Pictures) -> Pictures:
        return ndimage.uniform_filter(values, (1, WINDOW, WINDOW, 1))[:, edge:-edge, edge:-edge]

    mean_x, mean_y = mean(x), mean(y)
    unbiased = n / (n - 1)
    var_x, var_y = unbiased * (mean(x * x) - mean_x**2), unbiased * (mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    found: Float[np.ndarray, " item"] = similarity.mean(axis=(1, 2, 3))
    return found
