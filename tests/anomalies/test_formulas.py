"""Scores, thresholds and metrics against scikit-learn and direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve
from sklearn.mixture import GaussianMixture

from saescope.anomalies.distances import RIDGE, Distance, Moments
from saescope.anomalies.drift import drift
from saescope.anomalies.forest import Forest
from saescope.anomalies.judging import _Ranked, intervals, judged, precision_recall, roc
from saescope.anomalies.mixture import Mixture, check_width
from saescope.anomalies.residuals import Rebuilt
from saescope.anomalies.thresholds import ThresholdRule
from saescope.store.errors import UserError

RANDOM = np.random.default_rng(0)
ROWS = (RANDOM.normal(size=(300, 5)) @ RANDOM.normal(size=(5, 5)) + 3).astype(np.float32)
OTHERS = RANDOM.normal(size=(40, 5)).astype(np.float32)


def moments(*, covariance: bool) -> Moments:
    found = Moments(5, covariance=covariance)
    for start in range(0, 300, 70):
        found.add(ROWS[start : start + 70])
    return found


def test_whitened_errors_are_mahalanobis_distances() -> None:
    fitted = Distance.fit("whitened", moments(covariance=True))
    exact = EmpiricalCovariance().fit(ROWS.astype(np.float64))
    ridge = RIDGE * np.trace(exact.covariance_) / 5 * np.eye(5)
    centred = OTHERS - exact.location_
    expected = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(exact.covariance_ + ridge), centred) / 5
    np.testing.assert_allclose(fitted.of(OTHERS), expected, rtol=1e-6)
    np.testing.assert_allclose(fitted.contributions(OTHERS).sum(axis=1), expected, rtol=1e-6)


def test_standardised_and_plain_errors() -> None:
    mean, variance = ROWS.mean(0, dtype=np.float64), ROWS.var(0, dtype=np.float64)
    fitted = Distance.fit("standardised", moments(covariance=False))
    expected = ((OTHERS - mean) ** 2 / (variance + RIDGE * variance.mean())).mean(axis=1)
    np.testing.assert_allclose(fitted.of(OTHERS), expected, rtol=1e-6)
    plain = Distance.fit("mse", moments(covariance=False))
    np.testing.assert_allclose(plain.of(OTHERS), (OTHERS.astype(np.float64) ** 2).mean(axis=1))
    np.testing.assert_allclose(plain.contributions(OTHERS), OTHERS.astype(np.float64) ** 2 / 5)


def test_too_wide_to_whiten() -> None:
    with pytest.raises(UserError, match="at most 4,096 are whitened"):
        Moments(5000, covariance=True)


def test_the_forest_is_scikit_learns() -> None:
    expected = -IsolationForest(random_state=3).fit(ROWS).score_samples(OTHERS)
    np.testing.assert_allclose(Forest.fit(ROWS, 3).scores(OTHERS), expected, rtol=1e-12)


def test_trees_of_equal_rows_are_leaves() -> None:
    rows = np.concatenate([np.zeros((400, 5), np.float32), ROWS[:1]])  # most trees see none but zeros
    expected = -IsolationForest(random_state=0).fit(rows).score_samples(OTHERS)
    np.testing.assert_allclose(Forest.fit(rows, 0).scores(OTHERS), expected, rtol=1e-12)


def test_the_mixture_is_scikit_learns() -> None:
    codes, others = ROWS.astype(np.float64), OTHERS.astype(np.float64)
    spread = codes.std(axis=0)
    model = GaussianMixture(3, random_state=1, reg_covar=1e-3, max_iter=50).fit(codes / spread)
    np.testing.assert_allclose(
        Mixture.fit(codes, 3, 1).scores(others), -model.score_samples(others / spread), rtol=1e-8
    )
    with pytest.raises(UserError, match="too wide"):
        check_width(300)
    with pytest.raises(UserError, match="too few for 20 components"):
        Mixture.fit(codes[:10], 20, 0)


TRUTH = RANDOM.random(200) < 0.2
SCORES = np.round(RANDOM.normal(size=200) + TRUTH, 1)  # with ties


def test_metrics_and_curves_are_scikit_learns() -> None:
    found = judged(SCORES, TRUTH, 0.5)
    assert found["auc"] == roc_auc_score(TRUTH, SCORES)
    assert found["average_precision"] == average_precision_score(TRUTH, SCORES)
    assert found["detection_rate"] == np.mean(SCORES[TRUTH] > 0.5)
    assert found["false_alarm_rate"] == np.mean(SCORES[~TRUTH] > 0.5)
    curve = roc(SCORES, TRUTH)
    for mine, theirs in zip((curve.x, curve.y, curve.threshold), roc_curve(TRUTH, SCORES), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    found_curve = precision_recall(SCORES, TRUTH)
    assert (np.diff(found_curve.threshold) < 0).all()
    at = found_curve.threshold[3]
    assert found_curve.y[3] == TRUTH[at <= SCORES].mean()
    assert found_curve.x[3] == (SCORES[TRUTH] >= at).mean()


def test_resampled_metrics_are_weighted_ones() -> None:
    weights = RANDOM.integers(0, 4, 200)
    auc, precision = _Ranked.of(SCORES).metrics(TRUTH, weights)
    assert auc == pytest.approx(roc_auc_score(TRUTH, SCORES, sample_weight=weights))
    assert precision == pytest.approx(average_precision_score(TRUTH, SCORES, sample_weight=weights))


def test_intervals_are_seeded_and_hold_the_value() -> None:
    one = intervals(SCORES, TRUTH, 0.5, n_resamples=200, seed=4)
    assert one == intervals(SCORES, TRUTH, 0.5, n_resamples=200, seed=4)
    assert one != intervals(SCORES, TRUTH, 0.5, n_resamples=200, seed=5)
    for name, value in judged(SCORES, TRUTH, 0.5).items():
        assert one[name][0] < value < one[name][1]


def test_thresholds() -> None:
    normal, anomalous = np.arange(100.0), np.arange(95.0, 115.0)
    assert ThresholdRule.parse("percentile:90").choose(normal) == np.percentile(normal, 90)
    at = ThresholdRule.parse("false-alarm:0.05").choose(normal)
    assert (normal > at).mean() == 0.05
    chosen = ThresholdRule.parse("f1").choose(normal, anomalous)
    scores, truth = np.concatenate([normal, anomalous]), np.arange(120) >= 100
    best = max(f1_score(truth, scores > t) for t in scores - 0.5)
    assert f1_score(truth, scores > chosen) == best
    assert chosen not in scores
    with pytest.raises(UserError, match="needs labelled anomalies"):
        ThresholdRule.parse("f1").choose(normal)


@pytest.mark.parametrize("text", ["", "percentile", "percentile:0", "percentile:100", "false-alarm:1", "p:3", "f1:2"])
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(UserError, match="threshold is"):
        ThresholdRule.parse(text)


def test_drift() -> None:
    normal = np.random.default_rng(1).normal(size=1000)
    steady = np.random.default_rng(2).normal(size=400)
    assert drift(steady[:30], normal, 50, 0) is None
    found = drift(steady, normal, 50, 0)
    assert found is not None
    assert found.refit_from is None
    np.testing.assert_allclose(found.median[0], np.median(steady[:50]))
    np.testing.assert_allclose(found.upper[-1], np.quantile(steady[-50:], 0.95))
    shifted = drift(np.concatenate([steady, steady + 2]), normal, 50, 0)
    assert shifted is not None
    assert shifted.refit_from is not None
    assert 400 + 50 < shifted.refit_from < 520
    few = steady.copy()
    few[::4] += 50  # anomalies, a quarter of all
    rare = drift(few, normal, 50, 0)
    assert rare is not None
    assert rare.refit_from is None


def test_positions_become_items() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    batch = Rebuilt(np.array([5, 6, 7]), np.array([0, 0, 2, 2]), rows, rows, rows, rows)
    values = np.array([1.0, 3.0, 5.0, 9.0])
    np.testing.assert_array_equal(batch.per_item(values, "mean"), [2, np.nan, 7])
    np.testing.assert_array_equal(batch.per_item(values, "max"), [3, np.nan, 9])
    np.testing.assert_array_equal(batch.means(rows), [[1, 2], [0, 0], [5, 6]])
    some = batch.chosen(np.array([False] * 7 + [True]))
    assert (some.item_ids.tolist(), some.place.tolist()) == ([7], [0, 0])
    np.testing.assert_array_equal(some.codes, rows[2:])
