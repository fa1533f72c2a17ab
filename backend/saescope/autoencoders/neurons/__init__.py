"""The model's own neurons: the k coordinates that are farthest from their mean. Nothing is learned."""

from __future__ import annotations

from saescope.autoencoders.registry import Architecture

ARCHITECTURE = Architecture(
    "neurons",
    settings=None,
    config_at=f"{__name__}.config:NeuronsConfig",
    module_at="saescope.autoencoders.abstopk.module:AbstopkAutoencoder",
    constraint="features are the coordinates themselves, at most k of them: f_j = x_j - m_j, ||f||_0 <= k",
)
