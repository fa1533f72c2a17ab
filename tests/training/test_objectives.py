"""Losses against their formulas written out in NumPy, and the gradients of both paths against each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.kl.objective import rate_divergence
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives import sparse_codes
from saescope.autoencoders.objectives.linear import LinearObjective
from saescope.autoencoders.objectives.protocol import StepInputs
from saescope.autoencoders.settings.run import DataSize
from saescope.training import TrainingConfig

BATCH, D_IN, N = 40, 9, 24
VARIANCE = 7.5


def prepared(architecture: str, **fields: Any) -> tuple[LinearObjective[Any, Any], LinearAutoencoder]:
    config = TrainingConfig(architecture, n_features=N, batch_size=BATCH, steps=100, **fields)
    resolved = config.resolve(DataSize(1000, D_IN))
    goal = resolved.objective()
    assert isinstance(goal, LinearObjective)
    model = goal.new_model(D_IN)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return goal, model


def inputs(step: int = 99, silent: torch.Tensor | None = None, sparsity: float = 0.7) -> StepInputs:
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(1))
    silent = torch.zeros(N, dtype=torch.int64) if silent is None else silent
    return StepInputs(x, step, VARIANCE, silent, sparsity)


def arrays(model: LinearAutoencoder) -> tuple[np.ndarray, ...]:
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    x = inputs().x.double().numpy()
    return x, x @ t["W_enc"] + t["b_enc"], t["W_dec"], t["b_dec"]


def keep_largest(z: np.ndarray, k: int) -> np.ndarray:
    codes = np.zeros_like(z)
    for row, values in enumerate(z):
        for j in np.argsort(-values)[:k]:
            codes[row, j] = max(values[j], 0.0)
    return codes


@pytest.mark.parametrize("k", [2, 12])
def test_topk_loss_is_the_normalised_squared_error(k: int) -> None:
    goal, model = prepared("topk", k=k)
    x, z, W_dec, b_dec = arrays(model)
    codes = keep_largest(z, k)
    squared = ((x - codes @ W_dec - b_dec) ** 2).sum(1).mean()
    result = goal.loss(model, inputs())
    assert result.total.item() == pytest.approx(squared / VARIANCE, rel=1e-5)
    assert float(result.squared_error) == pytest.approx(squared, rel=1e-5)
    assert result.firing.tolist() == (codes > 0).sum(0).tolist()


@pytest.mark.parametrize("aux_k", [3, 50])
def test_auxk_reconstructs_the_error_from_dead_features(aux_k: int) -> None:
    goal, model = prepared("topk", k=2, revival="auxk", aux_k=aux_k, aux_weight=0.25, dead_after=100)
    dead = [1, 4, 5, 8, 13, 20, 23]
    silent = torch.full((N,), 99, dtype=torch.int64)
    silent[dead] = 100
    x, z, W_dec, b_dec = arrays(model)
    error = x - keep_largest(z, 2) @ W_dec - b_dec
    rebuilt = keep_largest(z[:, dead], aux_k) @ W_dec[dead]
    auxiliary = ((error - rebuilt) ** 2).sum() / ((error - error.mean(0)) ** 2).sum() * min(1, len(dead) / aux_k)
    result = goal.loss(model, inputs(silent=silent))
    assert float(result.terms["auxiliary"]) == pytest.approx(auxiliary, rel=1e-4)
    assert result.total.item() == pytest.approx((error**2).sum(1).mean() / VARIANCE + 0.25 * auxiliary, rel=1e-4)
    result.total.backward()
    assert model.encoder.grad is not None
    assert (model.encoder.grad[dead].abs().sum(1) > 0).all()


@pytest.mark.parametrize(
    ("fields", "step", "strength"),
    [
        ({"refit": 0.0}, 99, 1.0),
        ({"refit": 0.0, "l1_warmup": 0.5}, 24, 0.5),
        ({"refit": 0.0, "l1_weighting": "none"}, 99, 1.0),
        ({"refit": 0.2}, 79, 1.0),
        ({"refit": 0.2}, 80, 0.0),
    ],
)
@pytest.mark.parametrize("path", ["sparse", "dense"])
def test_relu_loss_in_its_sum_form(
    fields: dict[str, Any], step: int, strength: float, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device: path == "sparse")
    goal, model = prepared("relu", l1=0.7, **fields)
    x, z, W_dec, b_dec = arrays(model)
    codes = np.maximum(z, 0)
    squared = ((x - codes @ W_dec - b_dec) ** 2).sum(1).mean()
    weights = np.ones(N) if fields.get("l1_weighting") == "none" else np.linalg.norm(W_dec, axis=1)
    penalty = (codes * weights).sum(1).mean()
    result = goal.loss(model, inputs(step))
    assert result.total.item() == pytest.approx((squared + 0.7 * strength * penalty) / D_IN, rel=1e-5)
    assert float(result.terms["l1"]) == pytest.approx(penalty, rel=1e-5)


def test_relu_loss_in_its_textbook_form() -> None:
    goal, model = prepared("relu", l1=0.7, l1_reduction="mean")
    x, z, W_dec, b_dec = arrays(model)
    codes = np.maximum(z, 0)
    expected = ((x - codes @ W_dec - b_dec) ** 2).mean() + 0.7 * np.abs(codes).mean()
    assert goal.loss(model, inputs()).total.item() == pytest.approx(expected, rel=1e-5)
    own = goal.own
    assert (goal.run.input_transform, own.decoder_norm, own.revival, own.refit) == ("none", "free", "none", 0)


def test_kl_loss() -> None:
    goal, model = prepared("kl", rho=0.1, kl_weight=2.0)
    x, z, W_dec, b_dec = arrays(model)
    codes = 1 / (1 + np.exp(-z))
    squared = ((x - codes @ W_dec - b_dec) ** 2).sum(1).mean()
    rate = codes.mean(0)
    divergence = (0.1 * np.log(0.1 / rate) + 0.9 * np.log(0.9 / (1 - rate))).sum()
    result = goal.loss(model, inputs(sparsity=0.1))
    assert result.total.item() == pytest.approx((squared / 2 + 2.0 * divergence) / D_IN, rel=1e-5)
    assert result.firing.tolist() == (codes > 0.5).sum(0).tolist()


def test_kl_under_a_target_lowers_rho_and_then_raises_the_weight() -> None:
    goal, model = prepared("kl", target_l0=2.0, kl_weight=2.0)
    first = 2.0 / goal.run.n_features
    plain, same = prepared("kl", rho=0.4 * first, kl_weight=10.0)
    same.load_state_dict(model.state_dict())
    under_target = goal.loss(model, inputs(sparsity=0.4 * first / 5))
    assert under_target.total.item() == pytest.approx(
        plain.loss(same, inputs(sparsity=0.4 * first)).total.item(), rel=1e-5
    )
    assert goal.settings_at(first) == {"rho": first, "kl_weight": 2.0}


def test_rates_at_the_ends_give_finite_divergence() -> None:
    rates = torch.tensor([0.0, 1.0, 0.2])
    assert math.isfinite(float(rate_divergence(rates, 0.2)))
    assert float(rate_divergence(rates[2:], 0.2)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("topk", {"k": 3}),
        ("topk", {"k": 3, "apply_b_dec_to_input": True}),
        ("topk", {"k": 3, "tied": True}),
        ("relu", {"l1": 0.4}),
        ("relu", {"l1": 0.4, "apply_b_dec_to_input": True}),
        ("relu", {"l1": 0.4, "tied": True}),
        ("relu", {"l1": 0.4, "l1_weighting": "decoder_norm"}),
    ],
)
def test_both_paths_have_the_same_gradients(
    architecture: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    for fast in (True, False):
        monkeypatch.setattr(sparse_codes, "pays", lambda fraction, device, fast=fast: fast)
        goal, model = prepared(architecture, **fields)
        goal.loss(model, inputs(step=50)).total.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient is not None
        torch.testing.assert_close(
            gradient, gradients[1][name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [("relu", {"l1": 1.0}), ("gated", {"l1": 1.0}), ("jumprelu", {"l0_weight": 1.0})],
)
@pytest.mark.parametrize("subtracts", [False, True])
def test_at_the_end_norms_move_out_of_free_atoms_and_no_output_changes(
    architecture: str, fields: dict[str, Any], subtracts: bool
) -> None:
    goal, model = prepared(architecture, apply_b_dec_to_input=subtracts, **fields)
    assert goal.own.decoder_norm == "free"
    x = inputs().x
    before, norms = model(x), model.decoder_norms.detach()
    goal.finish(model, x)
    after = model(x)
    torch.testing.assert_close(model.atoms.norm(dim=1), torch.ones(N))
    torch.testing.assert_close(after.codes, before.codes * norms, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.reconstruction, before.reconstruction, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "fields", "expected"),
    [
        ("relu", {"l1": 1.0}, ("free", 0.0, "decoder_norm")),
        ("relu", {"target_l0": 5.0, "p_end": 0.5}, ("free", 0.0, "decoder_norm")),
        ("relu", {"l1": 1.0, "first_norm": 0.3}, ("free", 0.3, "decoder_norm")),
        ("relu", {"l1": 1.0, "tied": True}, ("unit", 1.0, "none")),
        ("relu", {"l1": 1.0, "decoder_norm": "unit"}, ("unit", 1.0, "none")),
        ("relu", {"l1": 1.0, "l1_weighting": "none"}, ("unit", 1.0, "none")),
        ("relu", {"l1": 1.0, "l1_weighting": "none", "decoder_norm": "free"}, ("free", 1.0, "none")),
        ("relu", {"l1": 1.0, "l1_reduction": "mean"}, ("free", 1.0, "none")),
        ("relu", {"l1": 1.0, "recipe": "2023"}, ("unit", 1.0, "none")),
        ("gated", {"l1": 1.0}, ("free", 0.0, "decoder_norm")),
        ("gated", {"l1": 1.0, "decoder_norm": "unit"}, ("unit", 1.0, "none")),
        ("jumprelu", {"l0_weight": 1.0}, ("free", 0.0, "none")),
        ("jumprelu", {"l0_weight": 1.0, "tied": True}, ("unit", 1.0, "none")),
        ("jumprelu", {"l0_weight": 1.0, "decoder_norm": "unit"}, ("unit", 1.0, "none")),
        ("jumprelu", {"l0_weight": 1.0, "l0_penalty": "tanh"}, ("free", 1.0, "none")),
        ("abstopk", {"k": 3}, ("unit", 1.0, "none")),
        ("topk", {"k": 3}, ("unit", 1.0, "none")),
    ],
)
def test_atoms_begin_small_where_a_penalty_leaves_them_free(
    architecture: str, fields: dict[str, Any], expected: tuple[str, float, str]
) -> None:
    own = prepared(architecture, **fields)[0].own
    assert (own.decoder_norm, own.first_norm, getattr(own, "l1_weighting", "none")) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "learns"), ({"decoder_norm": "unit"}, "held"), ({"gate_decoder": "held"}, "held")],
)
def test_gates_train_the_decoder_where_it_is_free(fields: dict[str, Any], expected: str) -> None:
    assert prepared("gated", l1=1.0, **fields)[0].own.gate_decoder == expected


def test_a_refit_leaves_the_encoder_and_the_outputs_alone() -> None:
    goal, model = prepared("relu", l1=0.7, refit=0.5)
    goal.loss(model, inputs(step=60)).total.backward()
    assert model.encoder.grad is None
    assert model.W_dec.grad is not None
    x = inputs().x
    before = model(x)
    goal.finish(model, x)
    after = model(x)
    assert torch.equal(before.codes > 0, after.codes > 0)
    torch.testing.assert_close(after.reconstruction, before.reconstruction, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.atoms.norm(dim=1), torch.ones(N))
