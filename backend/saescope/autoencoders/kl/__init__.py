"""Sigmoid codes with a target rate (Ng, CS294A lecture notes, 2011)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.architecture import RatePenalty
from saescope.autoencoders.settings.linear import LinearSettings
from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.options import OPEN, Open, filled


@dataclass(frozen=True)
class KlSettings(LinearSettings[Open], RatePenalty[Open]):
    """Of a rate that features are to have."""

    sparsity = ("rho",)

    revival: Literal["resample", "none"] | Open = OPEN

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        own = filled(self, revival="none", decoder_norm="free", kl_weight=3.0)
        return filled(run, weight_decay=1e-4, bias_rate=math.sqrt(size.d_in)), own


ARCHITECTURE = Architecture(
    "kl",
    settings=KlSettings,
    config_at=f"{__name__}.module:KlConfig",
    module_at=f"{__name__}.module:KlAutoencoder",
    objective_at=f"{__name__}.objective:KlObjective",
    constraint="mean activations near a small rho cost least: + kl_weight sum_j KL(rho || mean f_j)",
)
