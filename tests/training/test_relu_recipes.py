"""ReLU's further forms: p-annealing against its formula, and the published recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import geometric_median
from saescope.autoencoders.settings.run import DataSize
from saescope.store.errors import UserError
from saescope.training import TrainingConfig
from tests.training.arrays import digits, settings
from tests.training.test_objectives import D_IN, inputs, prepared
from tests.training.test_run import advance, new_run


@pytest.mark.parametrize("path", ["sparse", "dense"])
@pytest.mark.parametrize(("step", "p"), [(20, 1.0), (60, 0.7), (99, 0.4075)])
@pytest.mark.parametrize("weighting", ["none", "decoder_norm"])
def test_the_exponent_falls_and_the_penalty_keeps_its_value(
    weighting: str, step: int, p: float, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 1 at 20 of 100 steps to 0.4 at 100: 1 - 0.6 (step - 20) / 80.

    A norm is inside the power: outside of it, larger codes of shorter atoms would cost less.
    """
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    goal, model = prepared("relu", l1=0.7, p_end=0.4, p_from=0.2, refit=0.0, l1_warmup=0.0, l1_weighting=weighting)
    result = goal.loss(model, inputs(step))
    result.total.backward()
    own = {name: t.detach().double().requires_grad_() for name, t in model.tensors().items()}
    x = inputs().x.double()
    codes = torch.relu(x @ own["W_enc"] + own["b_enc"])
    weighted = codes * (own["W_dec"].norm(dim=1) if weighting == "decoder_norm" else 1.0)
    powers = ((weighted + 0.01) ** p - 0.01**p).sum()
    penalty = powers * (weighted.sum() / powers).detach() / len(x)
    total = ((x - codes @ own["W_dec"] - own["b_dec"]).square().sum(1).mean() + 0.7 * penalty) / D_IN
    assert float(result.terms["l1"]) == pytest.approx(float(weighted.detach().sum(1).mean()), rel=1e-5)
    assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    total.backward()
    assert own["W_enc"].grad is not None
    for ours, reference in ((model.encoder, own["W_enc"].grad.T), (model.W_dec, own["W_dec"].grad)):
        assert ours.grad is not None
        assert reference is not None
        torch.testing.assert_close(ours.grad.double(), reference, rtol=1e-3, atol=1e-6)


def test_april_2024() -> None:
    run = new_run(digits(), "relu", l1=5.0, recipe="april2024")
    c = settings(run.config)
    assert (c.decoder_norm, c.l1_weighting, c.lr, c.lr_decay, c.l1_warmup) == ("free", "decoder_norm", 5e-5, 0.2, 0.05)
    assert (c.grad_clip, c.revival, c.refit, c.apply_b_dec_to_input) == (1.0, "none", 0.0, False)
    torch.testing.assert_close(run.model.W_dec.norm(dim=1), torch.full((64,), 0.1))
    assert torch.equal(run.model.encoder, run.model.W_dec)
    assert not run.model.b_enc.any()
    advance(run, 5)
    assert float((run.model.W_dec.detach().norm(dim=1) - 0.1).abs().max()) > 1e-5


def test_2023() -> None:
    run = new_run(digits(), "relu", l1=1.0, recipe="2023")
    c = settings(run.config)
    assert (c.decoder_norm, c.apply_b_dec_to_input, c.first_b_dec, c.revival) == (
        "unit",
        True,
        "geometric_median",
        "resample",
    )
    x = run.data.rows(np.arange(digits().n_rows)).double()
    median = run.model.b_dec.detach().double()
    away = (x - median) / (x - median).norm(dim=1, keepdim=True)
    assert float(away.mean(0).norm()) < 1e-4  # the gradient of the summed distance
    assert float(((x.mean(0) - x) / (x.mean(0) - x).norm(dim=1, keepdim=True)).mean(0).norm()) > 1e-3
    advance(run, 5)
    torch.testing.assert_close(run.model.atoms.norm(dim=1), torch.ones(64))


def test_given_settings_win_over_a_recipe() -> None:
    fields: dict[str, Any] = {"recipe": "april2024", "lr": 1e-3, "first_norm": 0.5}
    recipe = settings(TrainingConfig("relu", 64, l1=5.0, **fields).resolve(DataSize(1000, 8)))
    assert (recipe.lr, recipe.first_norm, recipe.decoder_norm) == (1e-3, 0.5, "free")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "topk", "k": 3, "recipe": "2023"}, "--recipe is a setting of relu; topk has no use for it"),
        ({"architecture": "relu", "l1": 1.0, "recipe": "2023", "l1_reduction": "mean"}, "sums its terms"),
        ({"architecture": "relu", "l1": 1.0, "bandwidth": 0.3}, "--bandwidth is a setting of jumprelu"),
        ({"architecture": "relu", "l1": 1.0, "p_end": 0.0}, "p_end is 0.0"),
        ({"architecture": "jumprelu", "l0_weight": -1.0}, "l0_weight is -1.0"),
        (
            {"architecture": "jumprelu", "l0_weight": 1.0, "revival": "auxk"},
            "expected resample, pre_activation or none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TrainingConfig(n_features=16, **fields)
    assert message in str(caught.value)


def test_a_geometric_median_hardly_follows_what_lies_far_out() -> None:
    """Of a unit square, pulled along its diagonal with unit force: 1 / (2 sqrt(3)) beyond its middle in each axis."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1e6, 1e6]])
    expected = torch.full((2,), 0.5 + 1 / (2 * 3**0.5))
    torch.testing.assert_close(geometric_median(points, 2000, 1e-9), expected, rtol=1e-3, atol=0)
