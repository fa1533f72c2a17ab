"""Metrics by name: each registered once, counted over the positions that its registration says."""

from __future__ import annotations

import pytest

from saescope.metrics import Over, all_metrics, metric
from saescope.metrics.evaluation import Evaluation
from saescope.metrics.registry import register


def test_a_name_is_registered_once() -> None:
    every = all_metrics()
    assert metric("probe_auc_k5.label.3") == every["probe_auc_k5"]
    with pytest.raises(ValueError, match="twice: fvu"):
        register(Over.OTHER, {"fvu": "another formula"})
    assert metric("fvu").over is Over.METRIC_POSITIONS


def test_positions_follow_the_registration() -> None:
    found = Evaluation({}, n_positions=10, n_evaluated=100, trained_on=False, n_predictions=7)
    counted = {name: found.positions_of(name) for name in ("fvu", "l0", "n_dead", "n_dense", "ce_sae", "kl_zero")}
    assert counted == {"fvu": 10, "l0": 10, "n_dead": 100, "n_dense": 100, "ce_sae": 7, "kl_zero": 7}
    assert metric("consistent_activation").over is Over.ALL_POSITIONS
