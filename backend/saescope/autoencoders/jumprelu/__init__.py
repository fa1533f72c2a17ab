"""JumpReLU: pre-activations above a threshold of each feature's own pass (Rajamanoharan et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.architecture import Penalty
from saescope.autoencoders.settings.defaults import FEWEST_STEPS, default_rate
from saescope.autoencoders.settings.linear import BY_DATA, LinearSettings
from saescope.autoencoders.settings.run import DataSize, NotNegative, Positive, RunSettings
from saescope.options import OPEN, Open, filled, flag

SHORT_RUN_EXPONENT = 2.0
"""By which short runs learn faster (see `default_rate`)."""


@dataclass(frozen=True)
class JumpreluSettings(LinearSettings[Open], Penalty[Open]):
    """The penalty on the number of firing features, and what gives thresholds a gradient."""

    sparsity = ("l0_weight",)

    revival: Literal["resample", "pre_activation", "none"] | Open = OPEN
    l0_weight: NotNegative | None = field(default=None, metadata=flag(metavar="L"))
    """Weight of the number of firing features beside sum (x - x_hat)^2, per position, in the space of training."""
    l0_penalty: Literal["step", "tanh"] = "step"
    """`step` counts firing features, `tanh` is Anthropic's smooth form (January 2025)."""
    bandwidth: Positive | Open = OPEN
    """Width of the window around a threshold in which pre-activations give it a gradient."""
    initial_threshold: NotNegative | Open = OPEN
    """All thresholds before the first step, and of resampled features."""
    tanh_scale: Positive | Open = OPEN
    """c in tanh(c |f_j| ||atom j||)."""
    pre_activation_weight: NotNegative | Open = OPEN
    """Weight of what pulls dead features' pre-activations up to their thresholds."""

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        tanh = self.l0_penalty == "tanh"
        steps = run.steps or FEWEST_STEPS
        short = steps < FEWEST_STEPS
        own = filled(
            self,
            revival="pre_activation" if tanh or short else "resample",
            l1_warmup=0.0 if run.target_l0 else 0.3,
            bandwidth=2.0 if tanh else 0.5,
            initial_threshold=0.1,
            tanh_scale=4.0,
            pre_activation_weight=0.1,
            decoder_norm="unit" if self.tied and not tanh else "free",
        )
        if own.decoder_norm == "free" and not (own.tied or tanh):
            own = filled(own, first_norm=BY_DATA)
        if short:
            rate = default_rate(size.d_in, run.n_features, steps, SHORT_RUN_EXPONENT)
            run = filled(run, lr=rate, bias_rate=3.0, lr_decay=0.2)
        return run, own


ARCHITECTURE = Architecture(
    "jumprelu",
    settings=JumpreluSettings,
    config_at=f"{__name__}.module:JumpreluConfig",
    module_at=f"{__name__}.module:JumpreluAutoencoder",
    objective_at=f"{__name__}.objective:JumpreluObjective",
    constraint="every feature that fires costs the same: + l0_weight sum_j H(z_j - theta_j)",
)
