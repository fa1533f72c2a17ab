"""Codes below 1, read from old checkpoints."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "tanhrelu",
    settings=None,
    config_at=f"{__name__}.module:TanhreluConfig",
    module_at=f"{__name__}.module:TanhreluAutoencoder",
    constraint="codes stay between 0 and 1: 0 <= f_j < 1",
)
