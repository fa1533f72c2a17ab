"""Centres of k-means, coded by the nearest one or the k nearest. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "kmeans",
    settings=None,
    config_at=f"{__name__}.module:KmeansConfig",
    module_at=f"{__name__}.module:KmeansDictionary",
    constraint="codes are weights of the k nearest centres, 1 at the nearest for k = 1: ||f||_0 <= k, sum_j f_j = 1",
)
