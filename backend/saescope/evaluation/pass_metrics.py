"""Every metric of the one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.defaults import N_CE_POSITIONS
from saescope.metrics.evaluation import Evaluation, metric_items
from saescope.precompute.one_pass.run import Observer, PassOptions, run_pass
from saescope.precompute.summary import evaluation_of
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source


def evaluate(
    sae: Autoencoder,
    source: Source,
    config: Mapping[str, Any] | None = None,
    *,
    whitening: Float[Tensor, "d_in d_in"] | None = None,
    n_ce_positions: int = N_CE_POSITIONS,
    items_per_batch: int | None = None,
    device: torch.device | None = None,
    observe: Observer | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Every metric of a pass of `sae` over `source`. `config` is its cfg.json, which says what it was trained on;
    `observe` sees every block of codes.

    Where the source is texts through a causal language model, cross-entropy is measured on `n_ce_positions`.
    """
    chosen, trained_on = metric_items(config or {}, source)
    result = run_pass(
        sae,
        source,
        PassOptions(n_top=1, n_samples=1),
        metric_items=chosen,
        whitening=whitening,
        items_per_batch=items_per_batch,
        device=device,
        observe=observe,
        progress=progress,
        stage="evaluating",
    )
    return evaluation_of(
        sae, source, result, chosen, trained_on=trained_on, n_ce_positions=n_ce_positions, progress=progress
    )
