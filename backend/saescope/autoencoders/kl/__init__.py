"""Sigmoid codes with a target rate (Ng, CS294A lecture notes, 2011)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from msgspec import Meta

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import LinearSettings
from saescope.autoencoders.settings.run import DataSize, NotNegative, RunSettings
from saescope.options import OPEN, Open, filled, flag


@dataclass(frozen=True)
class KlSettings(LinearSettings[Open]):
    """The rate that features are to have, and what it weighs."""

    sparsity = ("rho",)

    revival: Literal["resample", "none"] | Open = OPEN
    rho: Annotated[float, Meta(gt=0, lt=1)] | None = field(default=None, metadata=flag(metavar="R"))
    """Target of each feature's mean activation, strictly between 0 and 1, e.g. 0.05."""
    kl_weight: NotNegative | Open = OPEN
    """Weight of sum_j KL(rho || mean activation of j) beside sum (x - x_hat)^2 / 2 per position."""

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
