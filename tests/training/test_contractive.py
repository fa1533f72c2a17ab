"""Contractive autoencoders: the Jacobian against autograd's, its penalty in NumPy, and what it does to a code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.contractive.module import ContractiveAutoencoder, ContractiveConfig
from saescope.autoencoders.objectives.layered import decoder_of
from saescope.autoencoders.objectives.protocol import Objective, StepInputs
from saescope.autoencoders.settings.run import DataSize
from saescope.autoencoders.undercomplete.module import UndercompleteAutoencoder, UndercompleteConfig
from saescope.checkpoints import load_sae, weights_sha256
from saescope.metrics.jacobian import jacobian_norms
from saescope.sources import SourceOptions, open_source
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.workflows import SweepPlan, sweep
from tests.training.arrays import DESCRIPTION, digits
from tests.training.test_train import Interrupted, StopAt

WIDTHS: list[tuple[int, ...]] = [(), (6, 5)]


def config_of(**fields: Any) -> TrainingConfig:
    small = {"n_features": 16, "steps": 120, "batch_size": 64, "encoder_widths": (48,)}
    return TrainingConfig("contractive", **{**small, **fields})


def run(config: TrainingConfig, out: Path, **fields: Any) -> Path:
    return train(digits(), config, out, description=DESCRIPTION, device="cpu", **fields)


def prepared(widths: tuple[int, ...], **fields: Any) -> tuple[Objective[Any, Any], ContractiveAutoencoder, StepInputs]:
    config = config_of(n_features=3, encoder_widths=widths, contraction=2.0, **fields)
    goal = config.resolve(DataSize(1000, 9)).objective()
    model = goal.new_model(9)
    x = torch.randn(40, 9, generator=torch.Generator().manual_seed(1))
    goal.initialise(model, x, 0)
    if config.run.noise_conditioning:
        x = torch.cat([x, torch.linspace(0, 1, 40)[:, None]], 1)
    targets = x[:, :9]
    return goal, model, StepInputs(x, 7, 7.5, torch.zeros(3, dtype=torch.int64), 0.0, targets)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("noise_input", [False, True])
@pytest.mark.parametrize("kind", ["contractive", "undercomplete"])
def test_the_jacobian_is_that_of_autograd(widths: tuple[int, ...], noise_input: bool, kind: str) -> None:
    fields: dict[str, Any] = {"d_in": 7, "n_features": 4, "encoder_widths": widths, "noise_input": noise_input}
    fields["activation"] = "leaky_relu"
    model = (
        ContractiveAutoencoder(ContractiveConfig(**fields))
        if kind == "contractive"
        else UndercompleteAutoencoder(UndercompleteConfig(**fields))
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    x = torch.randn(5, 7 + noise_input, generator=generator)
    found = model.encoder_jacobian(x)
    for row, jacobian in zip(x, found, strict=True):
        exact = torch.autograd.functional.jacobian(lambda each: model.encode(each[None])[0], row)
        torch.testing.assert_close(jacobian, exact[:, :7], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(jacobian_norms(model, x), found.square().sum((1, 2)).sqrt())


@pytest.mark.parametrize("conditioned", [False, True])
def test_the_loss_of_one_layer_is_exact(conditioned: bool) -> None:
    noise = {"corruption": "gaussian", "noise": (0.0, 1.0), "noise_conditioning": True} if conditioned else {}
    goal, model, given = prepared((), **noise)
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    x = given.x.double().numpy()
    f = 1 / (1 + np.exp(-(x @ t["W_enc"] + t["b_enc"])))
    squared = ((x[:, :9] - (f @ t["W_dec"] + t["b_dec"])) ** 2).sum(1).mean()
    contraction = ((f * (1 - f)) ** 2 * (t["W_enc"][:9] ** 2).sum(0)).sum(1).mean()
    result = goal.loss(model, given)
    assert result.terms["contraction"].item() == pytest.approx(contraction, rel=1e-5)
    assert result.total.item() == pytest.approx((squared + 2 * contraction) / 9, rel=1e-5)
    assert result.firing.tolist() == (f > 0.5).sum(0).tolist()


def test_the_estimate_of_several_layers_has_the_mean_and_the_variance_that_it_says() -> None:
    goal, model, given = prepared((6, 5))
    jacobian = model.encoder_jacobian(given.x).double().numpy()
    exact = (jacobian**2).sum((1, 2)).mean()
    products = jacobian @ jacobian.transpose(0, 2, 1)
    apart = products * (1 - np.eye(3))
    variance = 2 * (apart**2).sum((1, 2)).mean() / len(jacobian)
    drawn = [
        goal.loss(model, StepInputs(given.x, step, 7.5, given.silent, 0.0)).terms["contraction"].item()
        for step in range(1500)
    ]
    assert np.mean(drawn) == pytest.approx(exact, abs=4 * (variance / len(drawn)) ** 0.5)
    assert np.var(drawn) == pytest.approx(variance, rel=0.2)
    again = goal.loss(model, StepInputs(given.x, 3, 7.5, given.silent, 0.0)).terms["contraction"].item()
    assert again == drawn[3]


def test_the_decoder_cannot_make_up_for_a_code_that_shrinks() -> None:
    goal, model, given = prepared((6, 5))
    rows = [layer.rows.detach().clone() for layer in decoder_of(model)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    goal.after_step(model, goal.loss(model, given))
    for layer, before in zip(decoder_of(model), rows, strict=True):
        torch.testing.assert_close(layer.rows.detach(), before)


@pytest.mark.parametrize("fields", [{"encoder_widths": ()}, {"dropout": 0.2}, {"loss": "bce"}], ids=str)
def test_a_cut_run_ends_with_the_same_bits(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(**fields)
    whole = run(config, tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", progress=StopAt(47))
    assert weights_sha256(run(config, tmp_path / "cut")) == weights_sha256(whole)


def test_it_halves_the_jacobian_for_a_tenth_of_the_error_at_most(tmp_path: Path) -> None:
    x = digits().rows(np.arange(digits().n_rows))
    found = []
    for contraction in (0.0, 10.0):
        sae: Any = load_sae(run(config_of(contraction=contraction, steps=600), tmp_path / str(contraction)))
        with torch.no_grad():
            missed = float((x - sae(x).reconstruction).square().sum() / (x - x.mean(0)).square().sum())
        found.append((missed, float(jacobian_norms(sae, x[:300]).mean())))
    assert found[1][0] < 1.1 * found[0][0]
    assert found[1][1] < 0.5 * found[0][1]


def test_settings() -> None:
    with pytest.raises(UserError, match="with --batch-norm it follows the whole batch\nleave --batch-norm out"):
        config_of(batch_norm=True)
    with pytest.raises(UserError, match="contraction is -1"):
        config_of(contraction=-1.0)
    with pytest.raises(UserError, match="--contraction is a setting of contractive"):
        TrainingConfig("undercomplete", n_features=3, contraction=1.0)
    with pytest.raises(UserError, match="a sigmoid code stays below 1"):
        ContractiveConfig(d_in=3, n_features=2, firing_threshold=1.0)
    wide = config_of(n_features=99)
    assert wide.own.remarks(wide.run, 64) == ()


def test_a_sweep_varies_the_contraction_and_entries_have_their_jacobian(tmp_path: Path) -> None:
    training = {"architecture": "contractive", "n_features": 8, "steps": 40, "batch_size": 64, "encoder_widths": (20,)}
    plan = SweepPlan("d", SourceOptions(images="embedded:digits"), training, [1, 100])
    assert plan.parameter == "contraction"
    entries = sweep(plan, tmp_path / "store", device="cpu")
    assert [e.sae_id for e in entries] == ["d-contractive-contraction-1", "d-contractive-contraction-100"]
    assert not verify(tmp_path / "store")
    table = open_source(SourceOptions(images="embedded:digits")).table()
    x = table.rows(np.arange(table.n_rows))
    with FeatureStore(tmp_path / "store") as store:
        norms = [store[e.sae_id].metrics["jacobian_norm"] for e in entries]
        sae: Any = load_sae(tmp_path / "store" / "saes" / entries[0].sae_id / entries[0].version / "sae")
    assert norms[0] == pytest.approx(float(jacobian_norms(sae, x).mean()), rel=0.1)  # 180 held-out items of 1,797
    assert norms[1] < norms[0]
