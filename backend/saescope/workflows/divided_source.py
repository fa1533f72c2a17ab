"""A source divided into what an SAE is trained on and what it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saescope.progress import SILENT, Progress
from saescope.sources import ActivationTable, DataOptions, Source, has_splits, held_out_items, open_source

HELD_OUT_FRACTION = 0.1
HELD_OUT_SEED = 0
"""Which items are held out does not follow the training's seed: runs that differ in it share their judges."""


@dataclass(frozen=True)
class DividedSource:
    """Rows to train on and, where the data has no splits of its own, items kept away from training."""

    source: Source
    table: ActivationTable
    held_out: dict[str, Any] | None
    """{"seed", "fraction"} of the hash that holds items out; None where the data has splits. Of documents, "by_hash"
    says whether the rule chooses the same ones of any part of the corpus."""
    judged_by: ActivationTable | None
    """Rows of the items held out, None with `held_out`."""

    @property
    def description(self) -> dict[str, Any]:
        """The source's description, and what was held out, for the checkpoint."""
        streamed = {"streamed": True} if hasattr(self.table, "epoch_order") else {}
        return {**self.source.describe(), **streamed, "held_out": self.held_out}


def open_to_train(options: DataOptions, progress: Progress = SILENT) -> DividedSource:
    """The training split, or 90 % of the items where there is none (or `--split all` asks for all data)."""
    source = open_source(options, "train", progress)
    own_split = has_splits(options) and options.split != "all"
    kept_away = None if own_split else held_out_items(source, HELD_OUT_SEED, HELD_OUT_FRACTION)
    if kept_away is None or not kept_away.any():
        return DividedSource(source, source.table(), None, None)
    rule: dict[str, Any] = {"seed": HELD_OUT_SEED, "fraction": HELD_OUT_FRACTION}
    if hasattr(source, "groups"):
        by_hash = held_out_items(source, HELD_OUT_SEED, HELD_OUT_FRACTION, strictly=True)
        rule["by_hash"] = bool((by_hash == kept_away).all())
    return DividedSource(source, source.table(~kept_away), rule, source.table(kept_away))
