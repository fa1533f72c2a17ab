"""The value that so many values exceed, block by block against a sort of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder
from saescope.autoencoders.jumprelu.objective import STRETCH, firing_ratio
from saescope.autoencoders.objectives.order_statistic import exceeded_by
from tests.training.arrays import digits
from tests.training.test_run import advance, new_run


@pytest.mark.parametrize("count", [0, 1, 7, 60, 199])
@pytest.mark.parametrize("size", [1, 13, 1000])
def test_against_a_sort(count: int, size: int) -> None:
    values = torch.randn(50, 8, generator=torch.Generator().manual_seed(count))
    positive = np.sort(values[values > 0].numpy())[::-1]
    expected = float(positive[count]) if len(positive) > count else 0.0
    assert exceeded_by(values.split(size), count) == expected
    if expected:
        assert int((values > expected).sum()) == count


def trained() -> JumpreluAutoencoder:
    run = new_run(digits(), "jumprelu", target_l0=6.0)
    advance(run, 100)
    assert isinstance(run.model, JumpreluAutoencoder)
    return run.model


def test_thresholds_times_the_ratio_let_that_many_fire() -> None:
    model, rows = trained(), digits().rows(np.arange(500))
    rows = rows - rows.mean(0)
    with torch.no_grad():
        model.threshold[3] = 0.0  # fires wherever it is positive
        ratio = firing_ratio(model, rows, 5.0)
        model.threshold.mul_(ratio)
        assert float((model.encode(rows) != 0).sum()) / 500 == pytest.approx(5.0, abs=0.01)
        model.b_enc.fill_(-1e6)
        assert firing_ratio(model, rows, 5.0) == 0.0


def test_a_finished_run_has_its_target_on_held_out_rows_but_thresholds_move_no_further_than_they_may() -> None:
    run = new_run(digits(), "jumprelu", target_l0=6.0)
    advance(run, 100)
    model, rows = run.model, run.data.batch(np.arange(900)).x
    assert isinstance(model, JumpreluAutoencoder)
    with torch.no_grad():
        near = float((model.encode(rows) != 0).sum()) / len(rows) * 1.03
        kept = model.threshold.clone()
    for target, exact in ((near, True), (0.05, False)):
        model.threshold.data.copy_(kept)
        goal = new_run(digits(), "jumprelu", target_l0=target).objective
        goal.finish(model, rows)
        if exact:
            assert float((model.encode(rows) != 0).sum()) / len(rows) == pytest.approx(target, abs=0.01)
        else:
            torch.testing.assert_close(model.threshold.detach(), kept * STRETCH)
