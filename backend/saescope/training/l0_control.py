"""How a run arrives at a target L0: the weight of its penalty follows the L0 that it has.

Architectures that keep k features take the target as k. For the others a proportional and integral controller sets the
setting s (a penalty's weight, or a target rate) on logarithms:

    e = log(L0) - log(wanted),  within MOST_ERROR
    log s = i + PROPORTIONAL e,  i grows by INTEGRAL / steps * e at each step       (for a target rate: -e)

L0 is that at which its trend would arrive after a part of the run, an objective's `l0_extrapolation`: the
thresholds of `jumprelu` go on moving after the weight that drives them has turned (SmolLM2, 2,048 features, 1,000 steps
of 512, target 64: without it L0 falls to 32 and then climbs to 76, too late to come down again).

INTEGRAL is larger with p-annealing: a penalty that changes all the while needs another weight at every step, and a slow
rule ends as far behind as the weight moves meanwhile (MNIST, target 8: L0 6.8 with 10, 7.9 with 40).

L0 is that of held-out rows (see `data.hold_out`), since codes of rows that were trained on are sparser than those of
new ones where data are few; of a table from which none can be held out, that of the batch. `wanted` goes from the
first L0 to the target over the first RAMP of the steps, on logarithms along 1 - (1 - t)^2: so an L1 code thins out by
itself under one penalty, fast and then slowly.

A penalty costs, and where the loss of a code nears that of no code at all, all zeros, features are driven out for good
while L0 falls no further. So a weight grows no more, and shrinks, where the cost = loss / loss of no code comes above
MOST_COST:

    e <= (MOST_COST - cost) / COST_MARGIN

What s came to at the end is recorded with the checkpoint.
"""

from __future__ import annotations

import math
from typing import Any

from saescope.autoencoders.objectives.protocol import Objective

RAMP = 0.4
PROPORTIONAL = 0.5
INTEGRAL, INTEGRAL_ANNEALING = 10.0, 40.0
MOST_COST, COST_MARGIN = 0.95, 0.05
COST_SMOOTHING = 0.3
"""Rate per call of the running mean of the cost."""
MOST_ERROR = 1.0
RATES = 1e-4, 0.5
"""Bounds of a target rate, the lower one over its first value: below, nothing changes any more."""
TREND_SMOOTHING = 0.5
"""Rate per call of the running mean of the trend of log L0."""
SMOOTHING = 0.02
"""Rate per step of the running mean of L0 that is reported."""


class L0Controller:
    """The state of the rule."""

    def __init__(self, objective: Objective[Any, Any]) -> None:
        self.objective = objective
        self.steps = objective.run.steps
        assert objective.run.target_l0 is not None
        self.target = objective.run.target_l0
        self._sign = 1.0 if objective.sparsity_lowers_l0 else -1.0
        self._pace = (INTEGRAL_ANNEALING if objective.anneals else INTEGRAL) / self.steps
        self._integral = math.log(objective.first_sparsity)
        self._least = math.log(RATES[0] * objective.first_sparsity)
        self._extrapolated = objective.l0_extrapolation * self.steps
        self._first: float | None = None
        self._last = self._trend = math.nan
        self._cost = math.nan
        self._mean = math.nan
        self.value = objective.first_sparsity
        """The setting for the next step."""

    @classmethod
    def of(cls, objective: Objective[Any, Any]) -> L0Controller | None:
        """The controller, where there is a target."""
        return None if objective.run.target_l0 is None else cls(objective)

    def update(self, l0: float, cost: float, step: int, n_steps: int = 1) -> None:
        """Takes in L0 and cost (see the module) after a step, which stands for `n_steps` steps."""
        log_l0 = math.log(max(l0, 1e-3))
        if self._first is None:
            self._first, self._mean, self._cost = log_l0, l0, cost
            self._last, self._trend = log_l0, 0.0
        self._trend += TREND_SMOOTHING * ((log_l0 - self._last) / n_steps - self._trend)
        self._last = log_l0
        self._mean += min(1.0, SMOOTHING * n_steps) * (l0 - self._mean)
        self._cost += COST_SMOOTHING * (cost - self._cost)
        left = max(0.0, 1 - (step + 1) / max(1.0, RAMP * self.steps))
        wanted = self._first + (1 - left**2) * (math.log(self.target) - self._first)
        error = self._sign * min(MOST_ERROR, max(-MOST_ERROR, log_l0 + self._extrapolated * self._trend - wanted))
        if self._sign > 0:
            error = min(error, max(-MOST_ERROR, (MOST_COST - self._cost) / COST_MARGIN))
        self._integral += self._pace * n_steps * error
        self.value = math.exp(self._integral + PROPORTIONAL * error)
        if self._sign < 0:
            self._integral = min(max(self._integral, self._least), math.log(RATES[1]))
            self.value = min(max(self.value, math.exp(self._least)), RATES[1])

    def end(self, l0: float) -> None:
        """Takes in the L0 of the finished model, in the place of the running mean."""
        self._mean = l0

    def reached(self) -> dict[str, Any]:
        """What a checkpoint records."""
        settings = self.objective.settings_at(math.exp(self._integral))
        name = self.objective.setting
        assert name is not None
        value = settings.pop(name)
        return {"target_l0": self.target, "setting": name, "value": value, "l0": self._mean, **settings}

    def to_json(self) -> dict[str, Any]:
        """The state, for a training state."""
        return {
            "integral": self._integral,
            "first": self._first,
            "last": self._last,
            "trend": self._trend,
            "mean": self._mean,
            "cost": self._cost,
            "value": self.value,
        }

    def restore(self, kept: dict[str, Any]) -> None:
        """Takes up a kept state."""
        self._integral, self._first = kept["integral"], kept["first"]
        self._last, self._trend = kept["last"], kept["trend"]
        self._mean, self._cost, self.value = kept["mean"], kept["cost"], kept["value"]
