"""How well scores tell anomalies from normal items: scikit-learn's metrics, and bootstrap intervals of them.

`scores` are higher where an item is more anomalous, `truth` is True for anomalies. An item is flagged where its score
is above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from saescope.store.errors import DataError

METRICS = ("auc", "average_precision", "detection_rate", "false_alarm_rate")
FORMULAS = {
    "auc": "chance that an anomaly scores higher than a normal item, ties counted half",
    "average_precision": "sum over thresholds of (recall gained) x precision",
    "detection_rate": "flagged anomalies / anomalies",
    "false_alarm_rate": "flagged normal items / normal items",
}
LEVEL = 0.95
"""Of intervals: percentiles of stratified resamples (Efron & Tibshirani 1993, chapter 13)."""
N_POINTS = 2000
"""Points of a stored curve at most."""


def check_both(truth: Bool[np.ndarray, " item"], labels: str) -> None:
    """`DataError` where there are anomalies alone, or none."""
    if truth.all() or not truth.any():
        which = "anomalies" if truth.all() else "normal items"
        raise DataError(
            f"the {len(truth):,} labelled items are all {which} ({labels}); a report needs both",
            "say which labels are normal and which are not with --normal and --anomaly",
        )


def judged(
    scores: Float64[np.ndarray, " item"], truth: Bool[np.ndarray, " item"], threshold: float
) -> dict[str, float]:
    """The metrics of one signal at one threshold."""
    flagged = scores > threshold
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
        "detection_rate": float(flagged[truth].mean()),
        "false_alarm_rate": float(flagged[~truth].mean()),
    }


@dataclass(frozen=True)
class _Ranked:
    """Scores in descending order, equal ones together, so that a resample costs no sorting."""

    order: Int64[np.ndarray, " item"]
    ends: Int64[np.ndarray, " distinct"]
    """Index of the last item of each group of equal scores."""

    @staticmethod
    def of(scores: Float64[np.ndarray, " item"]) -> _Ranked:
        order = np.argsort(-scores, kind="stable")
        sorted_scores = scores[order]
        ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
        return _Ranked(order, ends)

    def metrics(self, truth: Bool[np.ndarray, " item"], weights: Int64[np.ndarray, " item"]) -> tuple[float, float]:
        """AUC and average precision with items counted `weights` times."""
        hits = np.cumsum(np.where(truth, weights, 0)[self.order])[self.ends].astype(np.float64)
        alarms = np.cumsum(np.where(truth, 0, weights)[self.order])[self.ends].astype(np.float64)
        recall, fall_out = hits / hits[-1], alarms / alarms[-1]
        auc = float(np.trapezoid(np.append(0.0, recall), np.append(0.0, fall_out)))
        flagged = hits + alarms
        precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
        return auc, float(np.sum(np.diff(recall, prepend=0.0) * precision))


def intervals(
    scores: Float64[np.ndarray, " item"],
    truth: Bool[np.ndarray, " item"],
    threshold: float,
    *,
    n_resamples: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals at `LEVEL`; normal items and anomalies are resampled apart."""
    random = np.random.default_rng(seed)
    ranked, flagged = _Ranked.of(scores), scores > threshold
    sides = [np.flatnonzero(truth), np.flatnonzero(~truth)]
    found = np.empty((n_resamples, len(METRICS)))
    for row in found:
        weights = np.zeros(len(scores), np.int64)
        for side in sides:
            weights[side] = np.bincount(random.integers(0, len(side), len(side)), minlength=len(side))
        auc, precision = ranked.metrics(truth, weights)
        rates = [float((weights * flagged)[side].sum() / len(side)) for side in sides]
        row[:] = [auc, precision, *rates]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}


@dataclass(frozen=True)
class Curve:
    """Points of a curve, from the highest threshold to the lowest."""

    x: Float64[np.ndarray, " point"]
    y: Float64[np.ndarray, " point"]
    threshold: Float64[np.ndarray, " point"]
    """Items of this score or more are flagged."""


def roc(scores: Float64[np.ndarray, " item"], truth: Bool[np.ndarray, " item"]) -> Curve:
    """False-alarm rate and detection rate by threshold; the first point flags nothing, at an infinite one."""
    x, y, threshold = roc_curve(truth, scores)
    return _thinned(Curve(x, y, threshold))


def precision_recall(scores: Float64[np.ndarray, " item"], truth: Bool[np.ndarray, " item"]) -> Curve:
    """Recall and precision by threshold."""
    precision, recall, threshold = precision_recall_curve(truth, scores)
    return _thinned(Curve(recall[:-1][::-1], precision[:-1][::-1], threshold[::-1]))


def _thinned(curve: Curve) -> Curve:
    n = len(curve.x)
    if n <= N_POINTS:
        return curve
    kept = np.unique(np.round(np.linspace(0, n - 1, N_POINTS)).astype(np.int64))
    return Curve(curve.x[kept], curve.y[kept], curve.threshold[kept])
