"""A learned dictionary, coded by orthogonal matching pursuit. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "omp",
    settings=None,
    config_at=f"{__name__}.module:OmpConfig",
    module_at=f"{__name__}.module:OmpDictionary",
    constraint="at most k atoms are used, taken one by one with least squares: ||f||_0 <= k",
)
