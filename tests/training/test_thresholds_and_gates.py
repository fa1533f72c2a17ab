"""Gated and JumpReLU: losses and straight-through gradients against the formulas in plain autograd, on both paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saescope.autoencoders.gated.module import GatedAutoencoder
from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives import sparse_codes
from tests.training.arrays import digits
from tests.training.test_objectives import D_IN, N, inputs, prepared
from tests.training.test_run import advance, new_run


def leaves(model: LinearAutoencoder) -> dict[str, Tensor]:
    return {name: t.detach().double().requires_grad_() for name, t in model.tensors().items()}


def assert_gradients(model: LinearAutoencoder, own: dict[str, Tensor], names: dict[str, str]) -> None:
    for ours, theirs in names.items():
        gradient, reference = dict(model.named_parameters())[ours].grad, own[theirs].grad
        assert gradient is not None, ours
        assert reference is not None, ours
        reference = reference.T if ours == "encoder" else reference
        torch.testing.assert_close(
            gradient.double(), reference, rtol=1e-4, atol=1e-6, msg=lambda m, n=ours: f"{n}: {m}"
        )


@pytest.mark.parametrize("path", ["sparse", "dense"])
@pytest.mark.parametrize("weighting", ["none", "decoder_norm"])
@pytest.mark.parametrize("decoder", ["held", "learns"])
def test_gated_loss_and_gradients(decoder: str, weighting: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    goal, model = prepared("gated", l1=0.7, l1_weighting=weighting, gate_decoder=decoder)
    result = goal.loss(model, inputs())
    result.total.backward()
    own, x = leaves(model), inputs().x.double()
    u = x @ own["W_enc"]
    gate = u + own["b_gate"]
    codes = (gate.detach() > 0) * torch.relu(u * own["r_mag"].exp() + own["b_mag"])
    squared = (x - codes @ own["W_dec"] - own["b_dec"]).square().sum(1).mean()
    W_dec, b_dec = (own[name] if decoder == "learns" else own[name].detach() for name in ("W_dec", "b_dec"))
    by_gates = torch.relu(gate) @ W_dec + b_dec
    weights = own["W_dec"].norm(dim=1) if weighting == "decoder_norm" else torch.ones(N)
    penalty = (torch.relu(gate) * weights).sum(1).mean()
    total = (squared + 0.7 * penalty + (x - by_gates).square().sum(1).mean()) / D_IN
    assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert float(result.squared_error) == pytest.approx(squared.item(), rel=1e-5)
    assert result.firing.tolist() == (codes > 0).sum(0).tolist()
    torch.testing.assert_close(model.encode(inputs().x).double(), codes, rtol=1e-4, atol=1e-5)
    total.backward()
    names = {"encoder": "W_enc", "b_enc": "b_gate", "W_dec": "W_dec", "b_dec": "b_dec"}
    assert_gradients(model, own, names | {"r_mag": "r_mag", "b_mag": "b_mag"})


def with_thresholds(**fields: Any) -> tuple[Any, JumpreluAutoencoder]:
    goal, model = prepared("jumprelu", l0_weight=0.7, **fields)
    assert isinstance(model, JumpreluAutoencoder)
    with torch.no_grad():
        model.threshold.abs_()
    return goal, model


@pytest.mark.parametrize("path", ["sparse", "dense"])
def test_jumprelu_with_the_step_penalty(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    width = 0.8
    goal, model = with_thresholds(bandwidth=width)
    result = goal.loss(model, inputs())
    result.total.backward()
    own, x = leaves(model), inputs().x.double()
    z = x @ own["W_enc"] + own["b_enc"]
    fires = (z > own["threshold"]).double()
    # A stand-in whose value is the step and whose gradient in theta is -box / width, none in z.
    box = ((z - own["threshold"]).abs() < width / 2).double().detach()
    slope = -box / width * own["threshold"]
    step = fires + slope - slope.detach()
    kept_theta = own["threshold"].detach()
    jump = z * fires + kept_theta * (slope - slope.detach())
    squared = (x - jump @ own["W_dec"] - own["b_dec"]).square().sum(1).mean()
    total = (squared + 0.7 * step.sum(1).mean()) / D_IN
    assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert result.firing.tolist() == fires.sum(0).tolist()
    assert float(result.terms["penalty"]) == pytest.approx(float(fires.sum(1).mean()), rel=1e-6)
    torch.testing.assert_close(model.encode(inputs().x).double(), (z * fires), rtol=1e-4, atol=1e-5)
    total.backward()
    names = {"encoder": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec", "threshold": "threshold"}
    assert_gradients(model, own, names)


@pytest.mark.parametrize("path", ["sparse", "dense"])
def test_jumprelu_with_the_tanh_penalty_and_pre_activation_loss(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    width, dead = 1.5, [2, 3, 17]
    goal, model = with_thresholds(
        l0_penalty="tanh", bandwidth=width, tanh_scale=1.3, pre_activation_weight=0.4, dead_after=100
    )
    silent = torch.full((N,), 99, dtype=torch.int64)
    silent[dead] = 100
    result = goal.loss(model, inputs(silent=silent))
    result.total.backward()
    own, x = leaves(model), inputs().x.double()
    z = x @ own["W_enc"] + own["b_enc"]
    theta = own["threshold"]
    fires = (z > theta).double()
    box = ((z - theta).abs() < width / 2).double().detach()
    slope = box / width * theta.detach() * (z - theta)
    jump = z * fires + slope - slope.detach()
    norms = own["W_dec"].norm(dim=1)
    penalty = torch.tanh(1.3 * jump * norms).sum(1).mean()
    pull = (torch.relu(theta - z) * norms)[:, dead].sum(1).mean()
    squared = (x - jump @ own["W_dec"] - own["b_dec"]).square().sum(1).mean()
    total = (squared + 0.7 * penalty + 0.4 * pull) / D_IN
    assert result.total.item() == pytest.approx(total.item(), rel=1e-5)
    total.backward()
    names = {"encoder": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec", "threshold": "threshold"}
    assert_gradients(model, own, names)


def test_thresholds_rise_from_where_they_start_and_stay_above_zero() -> None:
    run = new_run(digits(), "jumprelu", l0_weight=1.0, initial_threshold=0.2)
    assert isinstance(run.model, JumpreluAutoencoder)
    assert run.model.threshold.tolist() == pytest.approx([0.2] * 64)
    advance(run, 150)
    assert float(run.model.threshold.detach().min()) >= 0
    assert float(run.model.threshold.detach().mean()) > 0.2


def test_a_resampled_gate_gets_a_new_magnitude() -> None:
    run = new_run(digits(), "gated", l1=1.0)
    advance(run, 60)
    features, rows = torch.tensor([3, 40]), digits().rows(np.arange(100))
    assert isinstance(run.model, GatedAutoencoder)
    with torch.no_grad():
        run.model.r_mag[features] = 9.0
        changed = run.objective.restart(run.model, features, rows, 0.1)
    assert any(p is run.model.r_mag for p in changed)
    assert run.model.r_mag[features].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rate", [0.1, 0.002, 1.0])
@pytest.mark.parametrize("architecture", ["jumprelu", "relu", "gated"])
def test_with_a_target_resampled_features_fire_as_often_as_others(architecture: str, rate: float) -> None:
    own: dict[str, Any] = {"initial_threshold": 1e-6} if architecture == "jumprelu" else {}
    run = new_run(digits(), architecture, target_l0=8, **own)
    advance(run, 60)
    features, rows = torch.tensor([3, 40]), run.data.batch(np.arange(100)).x
    model = run.model
    with torch.no_grad():
        model.b_enc[features] = 0.0
        if isinstance(model, JumpreluAutoencoder):
            model.threshold[features] = 9.0
        changed = run.objective.restart(model, features, rows, rate)
        fired = (model.encode(rows)[:, features] != 0).sum(0)
        could = torch.full((2,), 100)
        if architecture != "relu":  # no threshold is below 0, and a gate lets nothing through that is not positive
            could = (rows @ model.encoder_rows[features].T > 1e-6).sum(0)
    if isinstance(model, JumpreluAutoencoder):
        assert any(p is model.threshold for p in changed)
    wanted = max(1, round(rate * 100))
    assert fired.tolist() == [min(wanted, int(n)) for n in could]


@pytest.mark.parametrize(("architecture", "sparsity"), [("jumprelu", "l0_weight"), ("relu", "l1"), ("gated", "l1")])
def test_without_a_target_resampled_features_begin_as_all_did(architecture: str, sparsity: str) -> None:
    settings: dict[str, Any] = {sparsity: 1.0}
    run = new_run(digits(), architecture, **settings)
    advance(run, 60)
    features, model = torch.tensor([3, 40]), run.model
    with torch.no_grad():
        model.b_enc[features] = 0.0
        run.objective.restart(model, features, run.data.batch(np.arange(100)).x, 0.1)
    assert model.b_enc[features].tolist() == [0.0, 0.0]
    if isinstance(model, JumpreluAutoencoder):
        assert model.threshold[features].tolist() == pytest.approx([0.1] * 2)


def test_a_resampled_threshold_begins_no_lower_than_the_first_ones() -> None:
    run = new_run(digits(), "jumprelu", target_l0=8, initial_threshold=50.0)
    model = run.model
    assert isinstance(model, JumpreluAutoencoder)
    with torch.no_grad():
        run.objective.restart(model, torch.tensor([5]), run.data.batch(np.arange(100)).x, 0.1)
    assert float(model.threshold[5].detach()) == 50.0
