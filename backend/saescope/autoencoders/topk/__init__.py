"""TopK: the k largest pre-activations of each position are kept (Gao et al. 2024)."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import AuxkSettings

ARCHITECTURE = Architecture(
    "topk",
    settings=AuxkSettings,
    config_at=f"{__name__}.module:TopkConfig",
    module_at=f"{__name__}.module:TopkAutoencoder",
    objective_at=f"{__name__}.objective:TopkObjective",
    constraint="at most k features fire: ||f||_0 <= k",
)
