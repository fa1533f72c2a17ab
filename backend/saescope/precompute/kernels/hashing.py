"""Hashes that decide which firings are sampled: the same on every machine and in every order."""

from __future__ import annotations

import numba
import numpy as np

from saescope.precompute.kernels.types import I64, U64

_U = np.uint64


@numba.njit(cache=True, nogil=True, inline="always")
def mix(h: np.uint64) -> np.uint64:
    """Finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit."""
    h = (h ^ (h >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> _U(27))) * _U(0x94D049BB133111EB)
    return h ^ (h >> _U(31))


@numba.njit(cache=True, nogil=True)
def feature_keys(seed: int, n_features: int) -> U64:
    """Hash of (seed, feature) for each feature."""
    keys = np.empty(n_features, np.uint64)
    start = mix(_U(seed) + _U(0x9E3779B97F4A7C15))
    for f in range(n_features):
        keys[f] = mix(start + _U(f) * _U(0x9E3779B97F4A7C15))
    return keys


@numba.njit(cache=True, nogil=True)
def position_keys(items: I64, positions: I64) -> U64:
    """Hash of (item, position) for each row."""
    keys = np.empty(items.size, np.uint64)
    for r in range(items.size):
        keys[r] = mix(mix(_U(items[r]) + _U(0x9E3779B97F4A7C15)) + _U(positions[r]) * _U(0xD1B54A32D192ED03))
    return keys
