"""Scores of items, and how well labelled anomalies among them are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float64, Int64

from saescope.anomalies.detector import Detector
from saescope.anomalies.drift import Drift, drift
from saescope.anomalies.judging import check_both, intervals, judged
from saescope.anomalies.leaks import check_unseen, item_hashes, seen
from saescope.anomalies.options import ReportOptions
from saescope.anomalies.residuals import rebuilt
from saescope.anomalies.sides import Sides
from saescope.autoencoders.protocol import Autoencoder
from saescope.progress import SILENT, Progress
from saescope.sources import held_out_items
from saescope.sources.protocol import Source
from saescope.store.errors import DataError, OptionError


@dataclass(frozen=True)
class Scores:
    """One score of each item per signal, in the source's order."""

    signals: Mapping[str, Float64[np.ndarray, " n_items"]]
    """NaN for an item none of whose positions counts."""
    hashes: Int64[np.ndarray, " n_items"]


def score_items(
    detector: Detector, sae: Autoencoder, source: Source, *, device: torch.device, progress: Progress = SILENT
) -> Scores:
    """Every item of `source`."""
    parts, hashes = [], []
    for batch in rebuilt(sae, source, device=device, stage="scoring items", progress=progress):
        parts.append(detector.signals(batch))
        hashes.append(item_hashes(batch.place, batch.inputs, len(batch.item_ids)))
    if not parts:
        raise DataError("the data has no items to score")
    return Scores({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, np.concatenate(hashes))


@dataclass(frozen=True)
class Judged:
    """What a report says."""

    scores: Scores
    truth: Bool[np.ndarray, " n_items"]
    """Anomalies."""
    counted: Bool[np.ndarray, " n_items"]
    """Items that are judged: labelled, and not fitted on."""
    n_left_out: int
    """Items that were left out because they were fitted on."""
    metrics: Mapping[str, Mapping[str, float]]
    """Signal -> metric -> value."""
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    drift: Drift | None
    order: Int64[np.ndarray, " item"]
    """Items in the order of time, those without a score left out."""
    times: pa.Array | None
    """Of every item, as text."""


def judge_items(
    detector: Detector,
    sae: Autoencoder,
    source: Source,
    sides: Sides,
    options: ReportOptions,
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> Judged:
    """Metrics of every signal over the labelled items. `DataError` where items were fitted on, unless those are left
    out, or where all items that are left are of one side."""
    times = _times(source, options.time_column)
    scores = score_items(detector, sae, source, device=device, progress=progress)
    about = detector.about
    leaked = seen(scores.hashes, detector.fitted)
    if about.trained_on == source.data_sha256:
        rule = about.held_out
        leaked |= True if rule is None else ~held_out_items(source, rule["seed"], rule["fraction"])
    main = scores.signals[about.main]
    labelled = (sides.normal | sides.anomalous) & np.isfinite(main)
    if not options.leave_out_seen:
        same = about.source.get("data_sha256") == source.data_sha256 or about.trained_on == source.data_sha256
        check_unseen(int((leaked & labelled).sum()), int(labelled.sum()), same_data=same)
    counted = labelled & ~leaked
    truth = sides.anomalous
    if not counted.any():
        raise DataError(
            "no labelled item is left to judge", f"{int(leaked.sum()):,} items were fitted on; {sides.words}"
        )
    check_both(truth[counted], sides.words)
    metrics, limits = {}, {}
    for done, (name, values) in enumerate(scores.signals.items()):
        own = (values[counted], truth[counted], about.thresholds[name])
        metrics[name] = judged(*own)
        limits[name] = intervals(*own, n_resamples=options.bootstrap, seed=options.seed)
        progress.update("resampling", done + 1, len(scores.signals))
    order = _in_time(times, np.isfinite(main) & ~leaked)
    return Judged(
        scores,
        truth,
        counted,
        int((leaked & labelled).sum()),
        metrics,
        limits,
        drift(main[order], detector.calibration[about.main], options.window, options.seed),
        order,
        times,
    )


def _times(source: Source, column: str | None) -> pa.Array | None:
    if column is None:
        return None
    known = source.metadata()
    if column not in known:
        raise OptionError(
            f"the data has no column {column!r} of times beside the model's inputs",
            f"there are: {', '.join(known) or 'none'}; numbers are kept beside the inputs by --metadata-columns in "
            "training",
        )
    found = known[column]
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def _in_time(times: pa.Array | None, scored: Bool[np.ndarray, " n_items"]) -> Int64[np.ndarray, " item"]:
    """Scored items by time; those of one time, and all where there are no times, in the source's order."""
    items = np.flatnonzero(scored)
    if times is None:
        return items
    values = times.take(pa.array(items))
    order = np.argsort(pa.compute.rank(values, tiebreaker="first").to_numpy(), kind="stable")
    return items[order]
