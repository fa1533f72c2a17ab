"""The mixing of splitmix64, for compiled loops."""

from __future__ import annotations

import numba
import numpy as np

_U = np.uint64


@numba.njit(cache=True, nogil=True, inline="always")
def mix(h: np.uint64) -> np.uint64:
    """Finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit."""
    h = (h ^ (h >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> _U(27))) * _U(0x94D049BB133111EB)
    return h ^ (h >> _U(31))
