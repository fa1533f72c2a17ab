"""Principal components: an AbsTopK code whose atoms are orthonormal directions of largest variance.

f_j = (x - m) . v_j where it is among the k of largest magnitude, else 0        x_hat = m + sum_j f_j v_j
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from saescope.autoencoders.abstopk.module import AbstopkConfig


@dataclass(frozen=True)
class PcaConfig(AbstopkConfig):
    """With k = n_features it is PCA as everyone knows it."""

    architecture: ClassVar[str] = "pca"
