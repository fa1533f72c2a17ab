"""Fitting a detector: on normal items of the training data, and nothing else.

Two passes over the data: one for means and covariances of residuals, one for the scores that thresholds are chosen by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from sklearn.decomposition import PCA

from saescope.anomalies.detector import TINY, About, Components, Detector, Logistic, latent_rows
from saescope.anomalies.distances import Distance, Moments
from saescope.anomalies.forest import MOST_ROWS, Forest
from saescope.anomalies.leaks import item_hashes
from saescope.anomalies.mixture import Mixture, check_width
from saescope.anomalies.options import FitOptions
from saescope.anomalies.residuals import rebuilt
from saescope.anomalies.thresholds import ThresholdRule
from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.logistic import fit_logistic
from saescope.progress import SILENT, Progress
from saescope.sources import held_out_items
from saescope.sources.protocol import Source
from saescope.sources.split import hashes
from saescope.store.errors import DataError

LEAST_CALIBRATION = 100
"""Normal held-out items from which on thresholds are chosen by them."""
PCA_VARIANCE = 0.9
"""Share of the variance that the reference's principal components keep."""


@dataclass(frozen=True)
class Roles:
    """What each item of the training data is for."""

    fitted: Bool[np.ndarray, " n_items"]
    """Normal items behind means and covariances."""
    calibrated: Bool[np.ndarray, " n_items"]
    """Normal items behind thresholds."""
    calibrated_on: str
    labelled_normal: Bool[np.ndarray, " n_items"]
    labelled_anomalous: Bool[np.ndarray, " n_items"]
    """Anomalies that the classifiers and a threshold by f1 may learn from."""

    @property
    def used(self) -> Bool[np.ndarray, " n_items"]:
        return self.fitted | self.calibrated | self.labelled_anomalous


def roles(
    source: Source,
    normal: Bool[np.ndarray, " n_items"],
    anomalous: Bool[np.ndarray, " n_items"],
    kept_from_training: Bool[np.ndarray, " n_items"] | None,
    options: FitOptions,
) -> Roles:
    """Which items are fitted on.

    Where the data has no split of its own, `kept_from_training` (the items that training holds out) are left to
    reports. Of the others a tenth, chosen by a hash of its own, calibrates thresholds if there are `LEAST_CALIBRATION`
    of them, else all.
    """
    usable = np.ones(len(normal), bool) if kept_from_training is None else ~kept_from_training
    normal, anomalous = normal & usable, anomalous & usable
    if normal.sum() < 2:
        raise DataError(
            f"{int(normal.sum())} normal items to fit on", "check --normal and --anomaly against the labels of the data"
        )
    tenth = normal & held_out_items(source, seed=1)
    if tenth.sum() >= LEAST_CALIBRATION:
        fitted, calibrated, words = normal & ~tenth, tenth, "a tenth of the normal items, not fitted on otherwise"
    else:
        fitted, calibrated, words = normal, normal, "the same normal items: there are too few to set some aside"
    n = options.labelled
    few = [_first_by_hash(side, n) for side in (fitted, anomalous)]
    if n and not few[1].any():
        raise DataError(
            f"{n} labelled items of each side are asked for, but none of the training data is labelled as an anomaly",
            "name their labels with --anomaly, and leave them in the data (no --without-labels)",
        )
    by_f1 = ThresholdRule.parse(options.threshold).rule == "f1"
    labelled = few[1] if n else (anomalous if by_f1 else np.zeros(len(normal), bool))
    return Roles(fitted, calibrated, words, few[0], labelled)


def _first_by_hash(items: Bool[np.ndarray, " n_items"], n: int) -> Bool[np.ndarray, " n_items"]:
    """The `n` of the items with the smallest hash."""
    places = np.flatnonzero(items)
    chosen = np.zeros(len(items), bool)
    chosen[places[np.argsort(hashes(places, seed=2))[:n]]] = True
    return chosen


@dataclass
class _Collected:
    """What the first pass keeps beside sums: a bounded sample of rows, and the labelled items."""

    inputs: list[np.ndarray] = field(default_factory=list)
    codes: list[np.ndarray] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)
    labelled: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)


def fit_detector(
    sae: Autoencoder,
    source: Source,
    given: Roles,
    options: FitOptions,
    about: dict[str, Any],
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> Detector:
    """The detector; `about` holds the fields of `About` that are not measured here."""
    rule = ThresholdRule.parse(options.threshold)
    if options.code_components:
        check_width(sae.n_features)
    residuals = Moments(sae.d_out, covariance=options.score == "whitened")
    kept = _Collected()
    share = min(1.0, MOST_ROWS / max(1, int(given.fitted.sum()) * source.positions_per_item))
    sampled = hashes(np.arange(source.n_items), seed=3).astype(np.float64) <= share * 2.0**64
    for batch in rebuilt(sae, source, given.used, device=device, stage="measuring residuals", progress=progress):
        kept.hashes.append(item_hashes(batch.place, batch.inputs, len(batch.item_ids)))
        own = batch.chosen(given.fitted)
        residuals.add(own.residuals)
        some = own.chosen(sampled)
        if options.references:
            kept.inputs.append(some.inputs)
        if options.code_components:
            kept.codes.append(latent_rows(some))
        if options.labelled:
            few = batch.chosen(given.labelled_normal | given.labelled_anomalous)
            kept.labelled.append((given.labelled_anomalous[few.item_ids], few.means(few.codes), few.means(few.inputs)))
    distance = Distance.fit(options.score, residuals)
    mixture = components = forest = None
    if options.code_components:
        mixture = Mixture.fit(np.concatenate(kept.codes), options.code_components, options.seed)
    if options.references:
        rows = np.concatenate(kept.inputs)
        components, forest = _components(rows), Forest.fit(rows, options.seed)
    classifier = classifier_inputs = None
    if options.labelled:
        truth, codes, inputs = (np.concatenate(part) for part in zip(*kept.labelled, strict=True))
        classifier, classifier_inputs = _classifier(codes, truth), _classifier(inputs, truth)
    first = Detector(
        About(
            **about,
            main="joint" if mixture is not None else "error",
            score=options.score,
            positions=options.positions,
            threshold_rule=str(rule),
            thresholds={},
            n_fitted=int(given.fitted.sum()),
            n_calibrated=int(given.calibrated.sum()),
            calibrated_on=given.calibrated_on,
            n_labelled=int(min(given.labelled_normal.sum(), given.labelled_anomalous.sum())) if options.labelled else 0,
            n_components=0 if components is None else len(components.axes),
            seed=options.seed,
        ),
        distance,
        mixture,
        components,
        forest,
        classifier,
        classifier_inputs,
        np.unique(np.concatenate(kept.hashes)),
    )
    return _calibrated(first, sae, source, given, rule, device, progress)


def _calibrated(
    detector: Detector,
    sae: Autoencoder,
    source: Source,
    given: Roles,
    rule: ThresholdRule,
    device: torch.device,
    progress: Progress,
) -> Detector:
    """With thresholds, and with how signals that are combined lie over normal items."""
    wanted = given.calibrated | given.labelled_anomalous
    parts = [
        (given.labelled_anomalous[batch.item_ids], detector.signals(batch))
        for batch in rebuilt(sae, source, wanted, device=device, stage="choosing the threshold", progress=progress)
    ]
    signals = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    scored = np.isfinite(signals["error"])  # not an item none of whose positions counts
    anomalous = np.concatenate([part[0] for part in parts])[scored]
    signals = {name: values[scored] for name, values in signals.items()}
    standard: dict[str, list[float]] = {}
    for name in ("error", "joint", "classifier"):
        if name in signals:
            values = signals[name] if name != "error" else np.log(signals[name] + TINY)
            standard[name] = _mean_and_spread(values[~anomalous])
    detector = _with(detector, standard=standard)
    signals = detector.combined(signals)
    thresholds = {name: rule.choose(values[~anomalous], values[anomalous]) for name, values in signals.items()}
    detector = _with(detector, thresholds=thresholds)
    calibration = {name: np.sort(values[~anomalous]) for name, values in signals.items()}
    return Detector(**{**vars(detector), "calibration": calibration})


def _with(detector: Detector, **changes: Any) -> Detector:
    return Detector(**{**vars(detector), "about": About(**{**vars(detector.about), **changes})})


def _mean_and_spread(values: Float64[np.ndarray, " item"]) -> list[float]:
    return [float(values.mean()), float(values.std()) or 1.0]


def _components(rows: np.ndarray) -> Components:
    """As many as hold `PCA_VARIANCE` of the variance."""
    fitted = PCA(PCA_VARIANCE, svd_solver="full").fit(rows.astype(np.float64))
    return Components(fitted.mean_, fitted.components_)


def _classifier(rows: Float64[np.ndarray, "row d"], truth: Bool[np.ndarray, " row"]) -> Logistic:
    probe = fit_logistic(rows.astype(np.float64), truth, balanced=True)
    return Logistic(probe.mean, probe.spread, probe.model.coef_[0].astype(np.float64), float(probe.model.intercept_[0]))
