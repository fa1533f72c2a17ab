"""Independent components: an AbsTopK code whose filters make codes as independent as can be (FastICA).

f_j = (x - m) . w_j where it is among the k of largest magnitude, else 0        x_hat = m + sum_j f_j a_j

Atoms a_j have norm 1, so that |f_j| is what a component adds to x_hat; filters w_j are no multiples of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from saescope.autoencoders.abstopk.module import AbstopkConfig


@dataclass(frozen=True)
class IcaConfig(AbstopkConfig):
    """With k = n_features x_hat is that of as many principal components."""

    architecture: ClassVar[str] = "ica"
