"""What an SAE's metrics are on a source, and over which positions they are taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from saescope.metrics.latents import LatentStatistics
from saescope.metrics.registry import Over, metric
from saescope.sources.protocol import Source
from saescope.sources.split import held_out_items
from saescope.store.format.source import TextDescription


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name (None where undefined) and the positions behind them, as their registration says.

    There are fewer metric positions than evaluated ones where the SAE was trained on the same data and only the rest is
    held out.
    """

    metrics: dict[str, float | None]
    n_positions: int
    """Positions that metrics are taken over."""
    n_evaluated: int
    """All evaluated positions."""
    trained_on: bool
    """Whether the metric positions themselves were trained on (the data is the same and nothing was held out)."""
    n_predictions: int = 0
    """Predictions behind cross-entropy and KL; 0 where they were not measured."""
    latents: LatentStatistics | None = None
    """What a variational autoencoder's posterior says."""

    def positions_of(self, name: str) -> int:
        """Number of positions that a metric was computed over."""
        counts = {Over.ALL_POSITIONS: self.n_evaluated, Over.PREDICTIONS: self.n_predictions}
        return counts.get(metric(name).over, self.n_positions)


def metric_items(config: Mapping[str, Any], source: Source) -> tuple[Bool[np.ndarray, " n_items"] | None, bool]:
    """Items that metrics may be taken over (None: all), and whether the SAE was trained on them.

    `config` is the checkpoint's cfg.json. On the very data that the SAE was trained on (same data hash), or other
    documents of the same corpus, only the items that training held out count; where it held out none, all count and
    the metrics are in-sample.
    """
    training = config.get("training") or {}
    same = training.get("data_sha256") == source.data_sha256
    corpus = (training.get("source") or {}).get("corpus_sha256")
    if not same and (corpus is None or corpus != _corpus(source)):
        return None, False
    rule = training.get("held_out")
    if not rule or not (same or rule.get("by_hash")):
        return None, True
    chosen = held_out_items(source, rule["seed"], rule["fraction"], strictly=not same)
    return (chosen, False) if chosen.any() else (None, True)


def _corpus(source: Source) -> str | None:
    about = source.describe()
    return about.corpus_sha256 if isinstance(about, TextDescription) else None
