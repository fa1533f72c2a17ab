"""Non-negative matrix factorisation: atoms and codes without negative values. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "nmf",
    settings=None,
    config_at=f"{__name__}.module:NmfConfig",
    module_at=f"{__name__}.module:NmfDictionary",
    constraint="nothing is subtracted: f_j >= 0, D_ij >= 0",
)
