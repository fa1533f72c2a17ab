"""Principal components: signed codes, all of them or the k of largest magnitude. Fitted, not trained."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "pca",
    settings=None,
    config_at=f"{__name__}.config:PcaConfig",
    module_at="saescope.autoencoders.abstopk.module:AbstopkAutoencoder",
    constraint="codes are coordinates along k orthonormal directions of largest variance: f = V (x - m), V V^T = I",
)
