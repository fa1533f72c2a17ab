"""What an SAE's metrics are on a source, and over which positions they are taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saescope.autoencoders import Autoencoder
from saescope.precompute.crossentropy import N_CE_POSITIONS, CrossEntropy, choose_contexts, cross_entropy
from saescope.precompute.metrics import DENSE_DENSITY
from saescope.precompute.one_pass.run import Observer, PassOptions, PassResult, run_pass
from saescope.precompute.tables.tokens import as_tokens
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source
from saescope.sources.split import held_out_items
from saescope.store.format.source import TextDescription


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name (None where undefined) and the positions behind them.

    `n_dead`, `dead_fraction` and `n_dense` count over all `n_evaluated` positions, as the features' own statistics do;
    every other metric but cross-entropy and KL is over `n_positions`: fewer where the SAE was trained on the same data
    and the rest is held out.
    """

    metrics: dict[str, float | None]
    n_positions: int
    n_evaluated: int
    trained_on: bool
    """Whether the metric positions themselves were trained on (the data is the same and nothing was held out)."""
    n_predictions: int = 0
    """Predictions behind cross-entropy and KL; 0 where they were not measured."""

    def positions_of(self, metric: str) -> int:
        """Number of positions that `metric` was computed over."""
        if metric.startswith(("ce_", "kl")):
            return self.n_predictions
        return self.n_evaluated if metric in ("n_dead", "dead_fraction", "n_dense") else self.n_positions


def metric_items(config: Mapping[str, Any], source: Source) -> tuple[Bool[np.ndarray, " n_items"] | None, bool]:
    """Items that metrics may be taken over (None: all), and whether the SAE was trained on them.

    `config` is the checkpoint's cfg.json. On the very data that the SAE was trained on (same data hash), or other
    documents of the same corpus, only the items that training held out count; where it held out none, all count and
    the metrics are in-sample.
    """
    training = config.get("training") or {}
    same = training.get("data_sha256") == source.data_sha256
    corpus = (training.get("source") or {}).get("corpus_sha256")
    about = source.describe()
    here = about.corpus_sha256 if isinstance(about, TextDescription) else None
    if not same and (corpus is None or corpus != here):
        return None, False
    rule = training.get("held_out")
    if not rule or not (same or rule.get("by_hash")):
        return None, True
    chosen = held_out_items(source, rule["seed"], rule["fraction"], strictly=not same)
    return (chosen, False) if chosen.any() else (None, True)


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
    """Every metric of `sae` on `source`. `config` is its cfg.json, which says what it was trained on; `observe` sees
    every block of codes.

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
    ce = measure_cross_entropy(sae, source, result, chosen, n_ce_positions, progress=progress)
    return evaluation_of(result, trained_on, ce)


def measure_cross_entropy(
    sae: Autoencoder,
    source: Source,
    result: PassResult,
    chosen: Bool[np.ndarray, " n_items"] | None,
    n_positions: int,
    saved: Path | None = None,
    progress: Progress = SILENT,
) -> CrossEntropy | None:
    """Cross-entropy on `n_positions` of the items that metrics are taken over, after a pass with decoding.

    None where the source has no predictions to measure: it is no causal language model's.
    """
    tokens = as_tokens(source)
    assert result.sums is not None
    if tokens is None or not n_positions or not result.sums.n or tokens.hooked.loaded.kind != "causal":
        return None
    contexts = choose_contexts(tokens, chosen, n_positions)
    return cross_entropy(sae, tokens, result.sums.mean, contexts, saved=saved, progress=progress)


def evaluation_of(result: PassResult, trained_on: bool, ce: CrossEntropy | None = None) -> Evaluation:
    """The metrics that a pass with decoding came to, and those of cross-entropy."""
    assert result.sums is not None
    n_firing = result.state.n_firing
    metrics = result.sums.values(len(n_firing))
    metrics["n_dead"] = float((n_firing == 0).sum())
    metrics["dead_fraction"] = float((n_firing == 0).mean())
    metrics["n_dense"] = float((n_firing > DENSE_DENSITY * result.n_positions).sum())
    if ce is not None:
        metrics |= ce.metrics()
    return Evaluation(metrics, result.sums.n, result.n_positions, trained_on, 0 if ce is None else ce.n)
