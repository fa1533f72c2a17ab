"""The learning rate at each step."""

from __future__ import annotations

from saescope.training.config import Recipe

REFIT_RATE = 1.0


def learning_rate(config: Recipe, step: int) -> float:
    """Linear warm-up, a plateau at the peak, linear decay to 0. A refit at the end has a decay of its own."""
    end = round(config.steps * (1 - config.refit))
    if step >= end:
        return config.lr * REFIT_RATE * (config.steps - step) / (config.steps - end)
    rising = config.lr_warmup * end
    falling = config.lr_decay * end
    factor = 1.0
    if step + 1 < rising:
        factor = (step + 1) / rising
    if falling and end - step < falling:
        factor = min(factor, (end - step) / falling)
    return config.lr * factor


def warmed(config: Recipe, step: int) -> float:
    """The part of its weight that a penalty has: rising linearly over the first `l1_warmup` of the steps."""
    rising = config.l1_warmup * config.steps
    return 1.0 if step >= rising else (step + 1) / rising
