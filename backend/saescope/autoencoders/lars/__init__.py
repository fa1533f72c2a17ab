"""A learned dictionary, coded by least angle regression. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "lars",
    settings=None,
    config_at=f"{__name__}.module:LarsConfig",
    module_at=f"{__name__}.module:LarsDictionary",
)
