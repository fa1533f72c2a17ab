"""Centres of k-means, coded by the nearest one or the k nearest. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "kmeans",
    settings=None,
    config_at=f"{__name__}.module:KmeansConfig",
    module_at=f"{__name__}.module:KmeansDictionary",
)
