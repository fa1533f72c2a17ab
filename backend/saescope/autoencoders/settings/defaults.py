"""Defaults that all architectures share, and how they follow the size of the data.

They were chosen on images held out from training data (MNIST's training split, scikit-learn's digits, patches of its
photographs, raw and whitened), never on a test set; `benchmarks/image_quality.py` shows what they reach.

* batch: the square root of the number of positions as a power of two, from 128 to 4,096.
* steps: 25 passes over the data, but no fewer than 3,000 and no more than 8,000 steps, or one pass if that is more.
* learning rate: 0.0113 / d_in^(1/4), so 0.004 for 64 dimensions and 0.0021 for 784; for more than 2,048 features less
  in proportion to 1 / sqrt(n_features) (as in sparsify). With the rate of b_enc below, twice as much leaves features
  dead on MNIST and half as much needs more steps. Runs shorter than 3,000 steps take more, in proportion to
  1 / sqrt(steps), up to twice as much: in 1,500 steps on MNIST that lowers the FVU of topk, batchtopk and jumprelu by
  2 to 7 %, and relu and gated reach theirs with fewer features firing.
* rate of b_enc: 4 times that of the others. Adam moves every weight by about the rate, so a pre-activation moves by up
  to d_in times as much as its bias alone would: with one rate for all, biases too slow leave features of MNIST dead
  that a small shift would wake; with 8 or more, the features of raw photographs die, where one direction has most of
  the variance.
* norm of the atoms: 1 where k features are kept; with a penalty they are free, and small at first (see
  `objectives.first_norm`).
* dead: silent for 20 batches. Resampling looks 40 times, and no more in the last 15 % of the steps.
"""

from __future__ import annotations

import math

from saescope.autoencoders.settings.run import DataSize, RunSettings
from saescope.options import filled

PASSES = 25
FEWEST_STEPS, MOST_STEPS = 3_000, 8_000
SMALLEST_BATCH, LARGEST_BATCH = 128, 4_096
PEAK_RATE, PEAK_RATE_FEATURES = 0.0113, 2_048
LARGEST_RAISE = 2.0
"""Most by which a short run's rate is raised."""
SILENT_BATCHES = 20
BIAS_RATE = 4.0


def default_batch(n_rows: int) -> int:
    """Positions per step."""
    nearest = 2 ** round(math.log2(n_rows) / 2)
    return min(n_rows, max(SMALLEST_BATCH, min(LARGEST_BATCH, nearest)))


def default_steps(n_rows: int, batch: int) -> int:
    """Optimiser steps."""
    one_pass = math.ceil(n_rows / batch)
    return max(FEWEST_STEPS, min(MOST_STEPS, PASSES * one_pass), one_pass)


def steps_of(run: RunSettings[None], size: DataSize) -> int:
    """Optimiser steps of a run."""
    return run.steps or default_steps(size.n_rows, run.batch_size or default_batch(size.n_rows))


def default_rate(d_in: int, n_features: int, steps: int, exponent: float = 0.5) -> float:
    """Peak learning rate. Short runs take more in proportion to 1 / steps^exponent."""
    narrowed = min(1.0, math.sqrt(PEAK_RATE_FEATURES / n_features))
    raised = min(LARGEST_RAISE, max(1.0, (FEWEST_STEPS / steps) ** exponent))
    return PEAK_RATE / d_in**0.25 * narrowed * raised


def with_shared_defaults(run: RunSettings[None], size: DataSize) -> RunSettings[None]:
    """`run` with every open field filled."""
    batch, steps = run.batch_size or default_batch(size.n_rows), steps_of(run, size)
    return filled(
        run,
        batch_size=batch,
        steps=steps,
        lr=default_rate(size.d_in, run.n_features, steps),
        bias_rate=BIAS_RATE,
        lr_warmup=0.05,
        lr_decay=0.5,
        grad_clip=1.0,
        weight_decay=0.0,
        input_transform="scale",
        dead_after=SILENT_BATCHES * batch,
    )
