"""Several layers each way, with ReLU between them; the k largest features, an L1 penalty or a rate."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.architecture import AuxiliaryLoss, KeepsK, L1Penalty, RatePenalty
from saescope.autoencoders.settings.defaults import default_rate, steps_of
from saescope.autoencoders.settings.layered import HiddenLayers
from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.options import OPEN, Open, filled
from saescope.store.errors import OptionError

HIDDEN = 2
"""Width of the one hidden layer each way that is the default, over d_in."""
RATE = 0.25
"""Learning rate over that of the linear architectures: with theirs, held-out error on digits is a sixth larger."""


@dataclass(frozen=True)
class DeepSettings(HiddenLayers[Open], AuxiliaryLoss[Open], KeepsK[Open], L1Penalty[Open], RatePenalty[Open]):
    """Of a deep SAE."""

    sparsity = ("k", "l1", "rho")
    keeps_k = True

    revival: Literal["auxk", "none"] | Open = OPEN

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.rho is not None and self.revival == "auxk":
            raise OptionError(
                "--revival auxk wakes features that never fire, and with --rho every feature always does a little",
                "leave --revival out",
            )

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        own = self
        if run.target_l0 is not None:
            own = dataclasses.replace(own, k=int(run.target_l0))
            run = dataclasses.replace(run, target_l0=None)
        rate = default_rate(size.d_in, run.n_features, steps_of(run, size)) * RATE
        own = filled(
            own,
            encoder_widths=(HIDDEN * size.d_in,),
            decoder_widths=(HIDDEN * size.d_in,),
            revival="auxk" if own.rho is None else "none",
            l1_warmup=0.3,
            kl_weight=0.0 if own.rho is None else 3.0,
        )
        if own.rho is not None:
            run = filled(run, weight_decay=1e-4, bias_rate=math.sqrt(size.d_in))
        return filled(run, bias_rate=1.0, lr=rate), own


ARCHITECTURE = Architecture(
    "deep",
    settings=DeepSettings,
    config_at=f"{__name__}.module:DeepConfig",
    module_at=f"{__name__}.module:DeepAutoencoder",
    objective_at=f"{__name__}.objective:DeepObjective",
    constraint="at most k features fire: ||f||_0 <= k; or firing costs: + l1 sum_j |f_j| or KL(rho || mean f_j)",
)
