"""The learning rate at each step."""

from __future__ import annotations

from typing import Never

from saescope.autoencoders.settings.run import RunSettings


def learning_rate(run: RunSettings[Never], step: int, refit: float = 0.0) -> float:
    """Linear warm-up, a plateau at the peak, linear decay to 0. The last `refit` of the steps have a decay of their
    own."""
    end = round(run.steps * (1 - refit))
    if step >= end:
        return run.lr * (run.steps - step) / (run.steps - end)
    rising = run.lr_warmup * end
    falling = run.lr_decay * end
    factor = 1.0
    if step + 1 < rising:
        factor = (step + 1) / rising
    if falling and end - step < falling:
        factor = min(factor, (end - step) / falling)
    return run.lr * factor
