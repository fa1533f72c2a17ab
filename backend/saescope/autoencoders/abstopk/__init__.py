"""AbsTopK: the k pre-activations of largest magnitude are kept, sign and all."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import AuxkSettings

ARCHITECTURE = Architecture(
    "abstopk",
    settings=AuxkSettings,
    config_at=f"{__name__}.module:AbstopkConfig",
    module_at=f"{__name__}.module:AbstopkAutoencoder",
    objective_at=f"{__name__}.objective:AbstopkObjective",
    constraint="at most k features fire, with either sign: ||f||_0 <= k",
)
