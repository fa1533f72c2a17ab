"""Defaults that all objectives share, and how they follow the size of the data."""

from __future__ import annotations

from saescope.training.config import Recipe, TrainingConfig
from saescope.training.objectives.protocol import DataSize


def with_shared_defaults(config: TrainingConfig, size: DataSize) -> Recipe:
    batch = config.batch_size or min(256, size.n_rows)
    steps = config.steps or max(8000, size.n_rows // batch)
    filled = config.filled(
        batch_size=batch,
        steps=steps,
        lr=4e-3,
        lr_warmup=0.05,
        lr_decay=0.5,
        grad_clip=1.0,
        weight_decay=0.0,
        input_transform="scale",
        decoder_norm="unit",
        l1_warmup=0.0,
        refit=0.0,
        dead_after=20 * batch,
        aux_weight=0.0,
        aux_k=1,
        kl_weight=0.0,
        resample_every=max(1, steps // 10),
        resample_until=0.6,
    )
    return Recipe.of(filled)
