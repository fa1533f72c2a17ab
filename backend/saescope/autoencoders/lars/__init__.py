"""A learned dictionary, coded by least angle regression. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "lars",
    settings=None,
    config_at=f"{__name__}.module:LarsConfig",
    module_at=f"{__name__}.module:LarsDictionary",
    constraint="atoms are taken by the path of an L1 penalty, k steps of it: min ||x - f D||^2 + l1 sum_j |f_j|",
)
