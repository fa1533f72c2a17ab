"""BatchTopK: the k x batch largest pre-activations of a batch are kept (Bussmann et al. 2024)."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import AuxkSettings

ARCHITECTURE = Architecture(
    "batchtopk",
    settings=AuxkSettings,
    config_at=f"{__name__}.module:BatchtopkConfig",
    module_at=f"{__name__}.module:BatchtopkAutoencoder",
    objective_at=f"{__name__}.objective:BatchtopkObjective",
    constraint="k features fire on average: mean ||f||_0 <= k",
)
