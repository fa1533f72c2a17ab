"""Variational autoencoders: every term in NumPy, folding, resuming, what units are used, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from saescope.autoencoders.objectives.protocol import OF_LOSS, StepInputs, step_generator
from saescope.autoencoders.settings.run import DataSize
from saescope.autoencoders.variational.module import Posterior, VariationalAutoencoder, VariationalConfig
from saescope.checkpoints import load_sae, weights_sha256
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.export import folded
from saescope.training.input_transform import fit
from tests.training.arrays import DESCRIPTION, digits
from tests.training.test_train import Interrupted, StopAt


def config(**fields: Any) -> TrainingConfig:
    given = {"n_features": 8, "steps": 200, "batch_size": 64, "encoder_widths": (48,), **fields}
    return TrainingConfig("variational", **given)


def run(out: Path, **fields: Any) -> Path:
    progress = {"progress": fields.pop("progress")} if "progress" in fields else {}
    return train(digits(), config(**fields), out, description=DESCRIPTION, device="cpu", **progress)


def trained(out: Path, **fields: Any) -> VariationalAutoencoder:
    sae = load_sae(run(out, **fields))
    assert isinstance(sae, VariationalAutoencoder)
    return sae


def random_model(**fields: Any) -> VariationalAutoencoder:
    model = VariationalAutoencoder(VariationalConfig(**{"d_in": 9, "n_features": 4, "encoder_widths": (7,), **fields}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4, generator=generator)
    return model.requires_grad_(False)


def test_the_divergence_is_that_of_the_integral() -> None:
    q = Posterior(torch.tensor([[0.0, 1.5, -0.3]]), torch.tensor([[0.0, -1.2, 0.7]]))
    assert q.divergence[0, 0] == 0
    z = np.linspace(-12, 12, 200_001)
    for found, mean, log_variance in zip(q.divergence[0], q.mean[0], q.log_variance[0], strict=True):
        density = stats.norm(float(mean), math.exp(0.5 * float(log_variance)))
        ratio = density.logpdf(z) - stats.norm.logpdf(z)
        assert float(found) == pytest.approx(np.trapezoid(density.pdf(z) * ratio, z), abs=1e-5)


@pytest.mark.parametrize("bernoulli", [True, False])
def test_the_likelihood_is_that_of_scipy(bernoulli: bool) -> None:
    model = random_model(sigmoid_output=bernoulli)
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(5, 9))
    x = (rng.random((5, 9)) < 0.5).astype(float) if bernoulli else rng.normal(size=(5, 9))
    found = model.log_likelihood(torch.from_numpy(outputs), torch.from_numpy(x))
    if bernoulli:
        expected = stats.bernoulli(1 / (1 + np.exp(-outputs))).logpmf(x)
    else:
        expected = stats.norm(outputs, math.exp(0.5 * float(model.log_output_variance))).logpdf(x)
    np.testing.assert_allclose(found, expected.sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "bce", "beta": 3.0},
        {"loss": "bce", "binarise": True},
        {"loss": "mse"},
        {"loss": "mse", "output_variance": 0.3, "beta": 0.5, "free_bits": 0.4},
    ],
)
def test_the_loss_in_numpy(fields: dict[str, Any]) -> None:
    resolved = config(
        n_features=4, encoder_widths=(7,), decoder_widths=(6,), steps=100, activation="leaky_relu", **fields
    ).resolve(DataSize(100, 9, None, (0.0, 1.0)))
    goal = resolved.objective()
    model = goal.new_model(9)
    with torch.no_grad():
        goal.initialise(model, torch.rand(50, 9), 0)
        model.variance_layer.bias.copy_(torch.tensor([0.0, -1.0, -2.0, 0.5]))
        model.variance_layer.rows.normal_(std=0.3, generator=torch.Generator().manual_seed(4))
    x = torch.rand(20, 9, generator=torch.Generator().manual_seed(1))
    given = StepInputs(x, 4, 1.0, torch.zeros(4, dtype=torch.int64), 0.0)
    found = goal.loss(model, given)

    generator = step_generator(resolved.run, 4, torch.device("cpu"), 0, OF_LOSS)
    seen = torch.bernoulli(x, generator=generator) if fields.get("binarise") else x
    e = torch.empty(20, 4).normal_(generator=generator).double().numpy()
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    hidden = seen.double().numpy() @ t["W_enc_0"] + t["b_enc_0"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    mean = hidden @ t["W_enc_1"] + t["b_enc_1"]
    log_variance = hidden @ t["W_log_variance"] + t["b_log_variance"]
    z = mean + np.exp(log_variance / 2) * e
    back = z @ t["W_dec_0"] + t["b_dec_0"]
    outputs = np.where(back > 0, back, 0.01 * back) @ t["W_dec_1"] + t["b_dec_1"]
    divergence = (0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)).mean(0)
    clean = seen.double().numpy()
    if fields["loss"] == "bce":
        p = 1 / (1 + np.exp(-outputs))
        likelihood = (clean * np.log(p) + (1 - clean) * np.log(1 - p)).sum(1).mean()
    else:
        variance = fields.get("output_variance") or float(np.exp(t["log_output_variance"]))
        assert variance == pytest.approx(float(np.exp(t["log_output_variance"])), rel=1e-6)
        likelihood = stats.norm(outputs, variance**0.5).logpdf(clean).sum(1).mean()
    cost = np.maximum(divergence, fields.get("free_bits", 0.0)).sum()
    warm = 5 / 20  # of the first fifth of 100 steps
    assert found.total.item() == pytest.approx((fields.get("beta", 1.0) * warm * cost - likelihood) / 9, rel=1e-5)
    assert found.terms["kl"].item() == pytest.approx(divergence.sum(), rel=1e-5)
    assert found.terms["log_likelihood"].item() == pytest.approx(likelihood, rel=1e-5)


def test_units_with_free_bits_are_not_pushed() -> None:
    resolved = config(loss="bce", free_bits=100.0).resolve(DataSize(100, 64, None, (0.0, 1.0)))
    goal = resolved.objective()
    model = goal.new_model(64)
    goal.initialise(model, torch.rand(50, 64), 0)
    with torch.no_grad():
        model.output_layer.rows.zero_()  # so that nothing but the divergence could push
    loss = goal.loss(model, StepInputs(torch.rand(20, 64), 199, 1.0, torch.zeros(8, dtype=torch.int64), 0.0))
    loss.total.backward()
    assert not model.variance_layer.rows.grad.any()


@pytest.mark.parametrize("widths", [(), (48, 20)])
def test_a_checkpoint_is_the_trained_model(widths: tuple[int, ...], tmp_path: Path) -> None:
    """Codes, spreads and bounds in raw units; the density of raw data is that of the space times its volume."""
    settings = config(input_transform="scale", encoder_widths=widths, batch_norm=bool(widths))
    x = digits().rows(np.arange(300))
    space = fit(digits(), "scale")
    goal = settings.resolve(DataSize(1797, 64)).objective()
    model: Any = goal.new_model(64)
    goal.initialise(model, space.apply(x), 3)
    with torch.no_grad():
        model.variance_layer.rows.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
        goal.loss(model, StepInputs(space.apply(x), 0, 1.0, torch.zeros(8, dtype=torch.int64), 0.0))
        again = folded(model, space)
        t, of_raw = model.posterior(space.apply(x)), again.posterior(x)
        torch.testing.assert_close(of_raw.mean, t.mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(of_raw.log_variance, t.log_variance, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(again.encode(x), t.mean, rtol=1e-3, atol=1e-4)
        bounds = [
            m.evidence_bound(rows, rows, torch.Generator().manual_seed(2))
            for m, rows in ((again, x), (model, space.apply(x)))
        ]
        torch.testing.assert_close(bounds[0], bounds[1] + 64 * math.log(space.scale), rtol=1e-3, atol=1e-2)


def test_a_cut_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {"loss": "bce", "binarise": True, "batch_norm": True, "dropout": 0.1, "free_bits": 0.1}
    whole = run(tmp_path / "whole", steps=60, **fields)
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", steps=60, progress=StopAt(23), **fields)
    assert weights_sha256(run(tmp_path / "cut", steps=60, **fields)) == weights_sha256(whole)


def test_beta_decides_how_much_the_code_tells(tmp_path: Path) -> None:
    x = digits().rows(np.arange(1797))
    divergence, fvu = [], []
    for beta in (0.2, 1.0, 8.0):
        sae = trained(tmp_path / str(beta), loss="bce", beta=beta, steps=500)
        with torch.no_grad():
            divergence.append(float(sae.posterior(x).divergence.sum(1).mean()))
            rebuilt = sae(x).reconstruction
        fvu.append(float((x - rebuilt).square().sum() / (x - x.mean(0)).square().sum()))
        assert torch.equal(sae.encode(x), sae.encode(x))
    assert divergence[0] > 1.2 * divergence[1] > 2 * divergence[2]
    assert fvu[0] < fvu[1] < fvu[2]


def test_a_learned_variance_is_the_error(tmp_path: Path) -> None:
    sae = trained(tmp_path / "run", steps=800, loss="mse")
    x = digits().rows(np.arange(1797))
    with torch.no_grad():
        z = sae.posterior(x).draw(torch.Generator().manual_seed(0))
        error = float((x - sae.decode(z)).square().mean())
    assert float(sae.log_output_variance.exp()) == pytest.approx(error, rel=0.15)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "bce", "output_variance": 1.0}, "--output-variance is a Gaussian's"),
        ({"loss": "psnr"}, "no likelihood"),
        ({"binarise": True}, "--binarise draws values from .0, 1."),
        ({"loss": "bce", "binarise": True, "corruption": "gaussian", "noise": (0.1,)}, "both say what the inputs are"),
        ({"input_transform": "zca"}, "another variance in every direction"),
        ({"beta": -1.0}, "beta is -1.0"),
        ({"loss": "bce", "input_transform": "scale"}, "--loss bce takes the data as they are"),
    ],
)
def test_settings_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**fields)


def test_bernoulli_outputs_are_for_data_in_0_to_1() -> None:
    with pytest.raises(UserError, match="data lie between 0 and 16"):
        config(loss="bce").resolve(DataSize(100, 64, None, (0.0, 16.0)))
