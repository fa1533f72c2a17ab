"""A report's tables for the store: what the Anomalies page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float64, Int64

from saescope.anomalies.detector import Detector
from saescope.anomalies.drift import RULE
from saescope.anomalies.judging import precision_recall, roc
from saescope.anomalies.report import Judged
from saescope.anomalies.residuals import Rebuilt, rebuilt
from saescope.anomalies.sides import Sides
from saescope.autoencoders.protocol import Autoencoder
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source

N_BINS = 60
N_MOST, N_OTHERS = 24, 12
"""Examples of the most anomalous items, and of items on the wrong side of the threshold."""


def report_tables(
    detector: Detector,
    sae: Autoencoder,
    source: Source,
    sides: Sides,
    found: Judged,
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> dict[str, pa.Table]:
    """Name -> table, with one more pass over the items that are shown."""
    main = detector.about.main
    tables = {
        "scores": _scores(detector, source, sides, found),
        "judgements": _judgements(detector, found),
        "curves": _curves(found),
        "histogram": _histogram(found.scores.signals[main], found, detector.calibration[main]),
        "examples": _examples(detector, sae, source, found, device, progress),
    }
    if found.drift is not None:
        tables["drift"] = _drift(found)
    return tables


def drift_record(found: Judged) -> dict[str, Any] | None:
    """What the manifest says of drift."""
    drift = found.drift
    if drift is None:
        return None
    refit = drift.refit_from
    item = None if refit is None else int(found.order[refit])
    return {"window": drift.window, "limit": drift.limit, "rule": RULE, "refit_from": refit, "item_id": item}


def _optional(values: np.ndarray, known: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, mask=~known)


def _scores(detector: Detector, source: Source, sides: Sides, found: Judged) -> pa.Table:
    main = found.scores.signals[detector.about.main]
    known = np.isfinite(main)
    n = len(main)
    columns = {
        "item_id": pa.array(np.arange(n)),
        "label": sides.labels,
        "split": pa.array([source.describe().split] * n, pa.string()),
        "is_anomaly": _optional(found.truth, found.counted, pa.bool_()),
        "flagged": _optional(main > detector.about.thresholds[detector.about.main], known, pa.bool_()),
        "score": _optional(main, known, pa.float64()),
    }
    return pa.table({**columns, **{name: pa.array(values) for name, values in found.scores.signals.items()}})


def _judgements(detector: Detector, found: Judged) -> pa.Table:
    rows = [
        {
            "signal": signal,
            "metric": metric,
            "value": value,
            "low": found.intervals[signal][metric][0],
            "high": found.intervals[signal][metric][1],
            "threshold": detector.about.thresholds[signal],
        }
        for signal in sorted(found.metrics)
        for metric, value in sorted(found.metrics[signal].items())
    ]
    return pa.Table.from_pylist(rows)


def _curves(found: Judged) -> pa.Table:
    tables = []
    truth = found.truth[found.counted]
    for signal in sorted(found.scores.signals):
        scores = found.scores.signals[signal][found.counted]
        for kind, curve in (("precision_recall", precision_recall(scores, truth)), ("roc", roc(scores, truth))):
            n = len(curve.x)
            tables.append(
                pa.table(
                    {
                        "signal": pa.array([signal] * n, pa.string()),
                        "kind": pa.array([kind] * n, pa.string()),
                        "point": pa.array(np.arange(n, dtype=np.int32)),
                        "x": pa.array(curve.x),
                        "y": pa.array(curve.y),
                        "threshold": _optional(curve.threshold, np.isfinite(curve.threshold), pa.float64()),
                    }
                )
            )
    return pa.concat_tables(tables)


def _histogram(
    scores: Float64[np.ndarray, " n_items"], found: Judged, fitted: Float64[np.ndarray, " item"]
) -> pa.Table:
    """Bins of one ratio where all scores are positive, else of one width."""
    judged = scores[found.counted]
    every = np.concatenate([judged, fitted])
    low, high = float(every.min()), float(every.max())
    high = high if high > low else low + 1.0
    edges = np.geomspace(low, high, N_BINS + 1) if low > 0 else np.linspace(low, high, N_BINS + 1)
    edges[0], edges[-1] = low, high
    truth = found.truth[found.counted]
    counts = {
        "n_normal": np.histogram(judged[~truth], edges)[0],
        "n_anomalous": np.histogram(judged[truth], edges)[0],
        "n_fitted": np.histogram(fitted, edges)[0],
    }
    return pa.table(
        {
            "bin": pa.array(np.arange(N_BINS, dtype=np.int32)),
            "lower": pa.array(edges[:-1]),
            "upper": pa.array(edges[1:]),
            **{name: pa.array(values.astype(np.int64)) for name, values in counts.items()},
        }
    )


def _chosen(detector: Detector, found: Judged) -> dict[str, Int64[np.ndarray, " item"]]:
    """Items to show, by kind."""
    main = found.scores.signals[detector.about.main]
    threshold = detector.about.thresholds[detector.about.main]
    falling = found.order[np.argsort(-main[found.order], kind="stable")]
    counted = falling[found.counted[falling]]
    flagged, anomalous = main[counted] > threshold, found.truth[counted]
    return {
        "false alarm": counted[flagged & ~anomalous][:N_OTHERS],
        "missed": counted[~flagged & anomalous][::-1][:N_OTHERS],
        "most anomalous": falling[:N_MOST],
    }


def _examples(
    detector: Detector,
    sae: Autoencoder,
    source: Source,
    found: Judged,
    device: torch.device,
    progress: Progress,
) -> pa.Table:
    chosen = _chosen(detector, found)
    wanted = np.zeros(source.n_items, bool)
    wanted[np.concatenate(list(chosen.values()))] = True
    shown: dict[int, dict[str, Any]] = {}
    for batch in rebuilt(sae, source, wanted, device=device, stage="keeping examples", progress=progress):
        shown |= _shown(detector, batch)
    items = {row["item_id"]: row for row in source.item_table(np.flatnonzero(wanted)).to_pylist()}
    main = found.scores.signals[detector.about.main]
    rows: list[dict[str, Any]] = []
    for kind, ids in chosen.items():
        for rank, item in enumerate(ids.tolist()):
            about = {name: value for name, value in items[item].items() if name not in _TAKEN}
            truth = bool(found.truth[item]) if found.counted[item] else None
            own = {"kind": kind, "rank": rank, "item_id": item, "score": float(main[item]), "is_anomaly": truth}
            rows.append({**own, **shown[item], **about})
    details = [f for f in source.item_table(np.empty(0, np.int64)).schema if f.name not in _TAKEN]
    return pa.Table.from_pylist(rows, schema=pa.schema([*_EXAMPLES, *details]))


def _shown(detector: Detector, batch: Rebuilt) -> Mapping[int, dict[str, Any]]:
    """Item -> its worst position."""
    errors = detector.distance.of(batch.residuals)
    bounds = np.searchsorted(batch.place, np.arange(len(batch.item_ids) + 1))
    found = {}
    for item, start, stop in zip(batch.item_ids.tolist(), bounds[:-1], bounds[1:], strict=True):
        if start == stop:
            continue
        row = start + int(np.argmax(errors[start:stop]))
        found[item] = {
            "position": int(row - start),
            "input": batch.inputs[row].tolist(),
            "reconstruction": batch.reconstructions[row].tolist(),
            "contributions": detector.distance.contributions(batch.residuals[row : row + 1])[0].tolist(),
        }
    return found


def _drift(found: Judged) -> pa.Table:
    drift = found.drift
    assert drift is not None
    items = found.order[drift.ends]
    times = pa.nulls(len(items), pa.string())
    if found.times is not None:
        times = pa.array(
            [None if v is None else str(v) for v in found.times.take(pa.array(items)).to_pylist()], pa.string()
        )
    return pa.table(
        {
            "end": pa.array(drift.ends.astype(np.int64)),
            "item_id": pa.array(items),
            "time": times,
            "mean": pa.array(drift.mean),
            "median": pa.array(drift.median),
            "upper": pa.array(drift.upper),
        }
    )


_EXAMPLES = [
    pa.field("kind", pa.string()),
    pa.field("rank", pa.int32()),
    pa.field("item_id", pa.int64()),
    pa.field("score", pa.float64()),
    pa.field("is_anomaly", pa.bool_()),
    pa.field("position", pa.int32()),
    pa.field("input", pa.list_(pa.float32())),
    pa.field("reconstruction", pa.list_(pa.float32())),
    pa.field("contributions", pa.list_(pa.float32())),
]
_TAKEN = frozenset(field.name for field in _EXAMPLES)
