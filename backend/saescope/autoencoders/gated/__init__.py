"""Gated codes: a gate decides which features fire, a magnitude how strongly (Rajamanoharan et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import LinearL1Settings
from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.options import OPEN, Open, filled


@dataclass(frozen=True)
class GatedSettings(LinearL1Settings[Open]):
    """What its gates train."""

    gate_decoder: Literal["held", "learns"] | Open = OPEN
    """Whether the decoder `learns` from what the gates reconstruct by themselves (SAELens), or is `held` fixed in that
    term (Rajamanoharan et al. 2024)."""

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        own = filled(self, revival="resample", l1_warmup=0.0 if run.target_l0 else 0.3).with_norms()
        return run, filled(own, gate_decoder="held" if own.decoder_norm == "unit" else "learns")


ARCHITECTURE = Architecture(
    "gated",
    settings=GatedSettings,
    config_at=f"{__name__}.module:GatedConfig",
    module_at=f"{__name__}.module:GatedAutoencoder",
    objective_at=f"{__name__}.objective:GatedObjective",
    constraint="an open gate costs: + l1 sum_j max(g_j, 0)",
)
