"""Hashes that decide which firings are sampled: the same on every machine and in every order."""

from __future__ import annotations

import numba
import numpy as np

from saescope.precompute.kernels.records import I64, U64
from saescope.sources.splitmix import mix

_U = np.uint64


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
