"""Whether a detector that was read is one that `fit` could have written for its autoencoder: a folder that was changed
by hand is refused, rather than giving other scores or none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from saescope.anomalies.detector import Detector
from saescope.anomalies.forest import Forest
from saescope.anomalies.thresholds import ThresholdRule
from saescope.autoencoders.protocol import Autoencoder
from saescope.store.errors import DataError, OptionError


def check_sound(detector: Detector, sae: Autoencoder, called: str) -> None:
    """`DataError` with all that is wrong."""
    faults = [*_shape_faults(detector, sae), *_record_faults(detector)]
    if detector.forest is not None:
        faults += _forest_faults(detector.forest, sae.d_in)
    if faults:
        raise DataError(f"{called} is damaged: {'; '.join(faults)}", "fit the detector again")


def _shape_faults(detector: Detector, sae: Autoencoder) -> list[str]:
    d_in, d_out, n = sae.d_in, sae.d_out, sae.n_features
    root = (d_out, d_out) if detector.about.score == "whitened" else (d_out,)
    wanted: list[tuple[str, object, tuple[int, ...]]] = [
        ("distance.mean", detector.distance.mean, (d_out,)),
        ("distance.root", detector.distance.root, root),
        ("fitted", detector.fitted, (len(detector.fitted),)),
    ]
    mixture, components = detector.mixture, detector.components
    if mixture is not None:
        k = len(mixture.means)
        wanted += [
            ("mixture.spread", mixture.spread, (n + 1,)),
            ("mixture.log_weights", mixture.log_weights, (k,)),
            ("mixture.means", mixture.means, (k, n + 1)),
            ("mixture.factors", mixture.factors, (k, n + 1, n + 1)),
        ]
    if components is not None:
        wanted += [
            ("components.mean", components.mean, (d_in,)),
            ("components.axes", components.axes, (len(components.axes), d_in)),
        ]
    for name, classifier, width in (
        ("classifier", detector.classifier, n),
        ("classifier_inputs", detector.classifier_inputs, d_in),
    ):
        if classifier is not None:
            own = {"mean": (width,), "spread": (width,), "weights": (width,), "bias": (1,)}
            wanted += [
                (f"{name}.{part}", np.atleast_1d(getattr(classifier, part)), shape) for part, shape in own.items()
            ]
    faults = []
    for name, values, shape in wanted:
        array = np.asarray(values)
        if array.shape != shape:
            faults.append(f"{name} has shape {list(array.shape)}, expected {list(shape)}")
        elif not np.isfinite(array).all():
            faults.append(f"{name} holds numbers that are not finite")
    return faults


def _record_faults(detector: Detector) -> list[str]:
    about = detector.about
    signals = {"error"} | {
        name
        for name, part in (
            ("joint", detector.mixture),
            ("pca", detector.components),
            ("isolation_forest", detector.forest),
            ("classifier", detector.classifier),
            ("classifier_inputs", detector.classifier_inputs),
        )
        if part is not None
    }
    main = "joint" if "joint" in signals else "error"
    if "classifier" in signals and main in about.standard:
        signals.add("combined")
    faults = [] if about.main == main else [f"main is {about.main!r}, expected {main!r}"]
    for what, known in (("thresholds", about.thresholds), ("calibration scores", detector.calibration)):
        lacking = sorted(signals - set(known))
        faults += [f"{what} lack {', '.join(lacking)}"] if lacking else []
    faults += _threshold_faults(detector)
    wrong = [name for name, pair in about.standard.items() if len(pair) != 2 or not pair[1] > 0]
    faults += [f"standard.{name} is no mean and standard deviation" for name in wrong]
    rule = about.held_out
    if rule is not None and not (_is(rule, "seed", int) and _is(rule, "fraction", float)):
        faults.append("held_out is no rule of a seed and a fraction")
    return faults


def _threshold_faults(detector: Detector) -> list[str]:
    """Thresholds are chosen anew by the scores behind them; f1's were of anomalies too, which are not kept."""
    about = detector.about
    try:
        rule = ThresholdRule.parse(about.threshold_rule)
    except OptionError as error:
        return [error.message]
    if rule.rule == "f1":
        return []
    return [
        f"the threshold of {name} is {threshold:g}, but by {rule} it is {rule.choose(detector.calibration[name]):g}"
        for name, threshold in about.thresholds.items()
        if len(detector.calibration.get(name, ()))
        and not np.isclose(threshold, rule.choose(detector.calibration[name]), rtol=1e-9, atol=0)
    ]


def _is(rule: Mapping[str, object], name: str, kind: type) -> bool:
    return isinstance(rule.get(name), kind)


def _forest_faults(forest: Forest, d_in: int) -> list[str]:
    """A child stands behind its parent and within its tree, so that every walk ends."""
    arrays = [forest.left, forest.right, forest.feature, forest.threshold, forest.depth]
    n = len(forest.left)
    starts = np.asarray(forest.starts)
    if any(np.shape(array) != (n,) for array in arrays) or starts.ndim != 1 or not len(starts):
        return ["the forest's nodes are of several lengths"]
    if starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= n:
        return ["the forest's trees do not follow one another"]
    sizes = np.diff(np.append(starts, n))
    own = np.arange(n) - np.repeat(starts, sizes)
    inner = forest.left >= 0
    children = np.stack([forest.left, forest.right])[:, inner]
    ok = (children > own[inner]) & (children < np.repeat(sizes, sizes)[inner])
    sound = ok.all() and ((forest.feature >= 0) & (forest.feature < d_in)).all() and forest.n_samples > 0
    if not (sound and np.isfinite(forest.threshold).all() and np.isfinite(forest.depth).all()):
        return ["the forest's trees are none"]
    return []
