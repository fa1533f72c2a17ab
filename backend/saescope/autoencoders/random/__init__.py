"""Random directions, coded by the k that fit best. Nothing is learned."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "random",
    settings=None,
    config_at=f"{__name__}.module:RandomConfig",
    module_at=f"{__name__}.module:RandomDictionary",
    constraint="nothing was learned, and at most k directions are used: ||f||_0 <= k",
)
