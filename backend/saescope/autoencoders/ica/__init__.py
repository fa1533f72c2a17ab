"""Independent components: signed codes, all of them or the k of largest magnitude. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "ica",
    settings=None,
    config_at=f"{__name__}.config:IcaConfig",
    module_at="saescope.autoencoders.abstopk.module:AbstopkAutoencoder",
    constraint="codes are as independent as can be: f = W (x - m), W maximising non-Gaussianity",
)
