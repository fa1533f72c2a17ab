"""Deep SAEs: their losses in NumPy, what training keeps fixed, and what they reach beside a linear decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.deep.module import DeepAutoencoder
from saescope.autoencoders.deep.objective import PULL
from saescope.autoencoders.objectives.protocol import Objective, StepInputs
from saescope.autoencoders.settings.run import DataSize
from saescope.checkpoints import load_sae, weights_sha256
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from tests.training.arrays import DESCRIPTION, digits
from tests.training.test_train import Interrupted, StopAt
from tests.training.test_transcoders import pairs

SPARSITY: dict[str, dict[str, Any]] = {"k": {"k": 6}, "l1": {"l1": 3.0}, "rho": {"rho": 0.05}}


def small(setting: str, **fields: Any) -> TrainingConfig:
    settings = {"n_features": 96, "steps": 600, "batch_size": 128, **SPARSITY[setting], **fields}
    return TrainingConfig("deep", **settings)


def run(config: TrainingConfig, out: Path, **fields: Any) -> Path:
    return train(digits(), config, out, description=DESCRIPTION, device="cpu", **fields)


def fvu_and_l0(folder: Path) -> tuple[float, float]:
    sae, x = load_sae(folder), digits().rows(np.arange(digits().n_rows))
    out = sae(x)
    fvu = float((x - out.reconstruction).square().sum() / (x - x.mean(0)).square().sum())
    return fvu, float((out.codes > 0).sum(1).float().mean())


def prepared(**fields: Any) -> tuple[Objective[Any, Any], DeepAutoencoder]:
    config = TrainingConfig("deep", n_features=24, batch_size=40, steps=100, encoder_widths=(12,), **fields)
    goal = config.resolve(DataSize(1000, 9)).objective()
    model = goal.new_model(9)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return goal, model


def inputs(sparsity: float, silent: torch.Tensor | None = None) -> StepInputs:
    x = torch.randn(40, 9, generator=torch.Generator().manual_seed(1))
    return StepInputs(x, 99, 7.5, torch.zeros(24, dtype=torch.int64) if silent is None else silent, sparsity)


def test_losses_without_dead_features() -> None:
    goal, model = prepared(k=3)
    given = inputs(3)
    squared = float((given.x - model(given.x).reconstruction).detach().square().sum(1).mean())
    assert goal.loss(model, given).total.item() == pytest.approx(squared / 7.5, rel=1e-5)
    goal, model = prepared(l1=0.4)
    given = inputs(0.4)
    with torch.no_grad():
        out = model(given.x)
    squared = float((given.x - out.reconstruction).square().sum(1).mean())
    expected = (squared + 0.4 * float(out.codes.sum(1).mean())) / 9
    result = goal.loss(model, given)
    assert result.total.item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(result.firing, (out.codes > 0).sum(0))


def test_the_loss_of_a_rate() -> None:
    goal, model = prepared(rho=0.1, kl_weight=0.7)
    given = inputs(0.1)
    x = given.x.double().numpy()
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    h = np.maximum(x @ t["W_enc_0"] + t["b_enc_0"], 0)
    f = 1 / (1 + np.exp(-(h @ t["W_enc_1"] + t["b_enc_1"])))
    x_hat = np.maximum(f @ t["W_dec_0"] + t["b_dec_0"], 0) @ t["W_dec_1"] + t["b_dec_1"]
    r = f.mean(0)
    divergence = (0.1 * np.log(0.1 / r) + 0.9 * np.log(0.9 / (1 - r))).sum()
    expected = (((x - x_hat) ** 2).sum(1).mean() / 2 + 0.7 * divergence) / 9
    result = goal.loss(model, given)
    assert result.total.item() == pytest.approx(expected, rel=1e-4)
    assert result.firing.tolist() == (f > 0.5).sum(0).tolist()


def test_features_of_a_rate_fire(tmp_path: Path) -> None:
    sae = load_sae(run(small("rho", steps=500), tmp_path / "run"))
    assert (sae.config.firing_threshold, sae.config.to_dict()["sigmoid_code"]) == (0.5, True)
    with torch.no_grad():
        codes = sae.encode(digits().rows(np.arange(digits().n_rows)))
    assert float(((codes > 0.5).sum(0) == 0).float().mean()) < 0.1
    assert 0.02 < float(codes.mean()) < 0.1


@pytest.mark.parametrize("setting", ["k", "l1"])
def test_few_features_end_dead(setting: str, tmp_path: Path) -> None:
    sae = load_sae(run(small(setting, n_features=192, steps=1200), tmp_path / "run"))
    with torch.no_grad():
        fired = (sae.encode(digits().rows(np.arange(digits().n_rows))) > 0).any(0)
    assert float((~fired).float().mean()) < 0.1


@pytest.mark.parametrize("aux_k", [2, 50])
def test_the_auxiliary_term(aux_k: int) -> None:
    dead = [1, 5, 7, 20]
    silent = torch.zeros(24, dtype=torch.int64)
    silent[dead] = 1000
    goal, model = prepared(k=3, aux_k=aux_k, aux_weight=0.5, dead_after=1000)
    given = inputs(3, silent)
    with torch.no_grad():
        codes, z = model.encode(given.x), model.pre_activations(given.x)
        deviations = z - z.mean(0)
        waking = codes.clone()
        for row in range(40):
            positive = sorted((f for f in dead if deviations[row, f] > 0), key=lambda f: -float(deviations[row, f]))
            for f in positive[:aux_k]:
                waking[row, f] += deviations[row, f]
        error = given.x - model.decode(codes)
        missed = (error - (model.decode(waking) - model.decode(codes))).square().sum()
        scale = min(len(dead) / aux_k, 1)
        below = np.maximum(-z[:, dead].double().numpy(), 0).mean() / np.sqrt((z.double().numpy() ** 2).mean())
        auxiliary = scale * (float(missed / (error - error.mean(0)).square().sum()) + PULL * below)
        plain = float(error.square().sum(1).mean()) / 7.5
    result = goal.loss(model, given)
    assert result.terms["auxiliary"].item() == pytest.approx(auxiliary, rel=1e-4)
    assert result.total.item() == pytest.approx(plain + 0.5 * auxiliary, rel=1e-4)


def test_a_deep_sae_fits_its_data_better_than_a_linear_one_of_the_same_sparsity(tmp_path: Path) -> None:
    deep = fvu_and_l0(run(small("k", steps=700, lr=0.004), tmp_path / "deep"))
    linear = TrainingConfig("topk", n_features=96, k=6, steps=700, batch_size=128)
    shallow = fvu_and_l0(run(linear, tmp_path / "linear"))
    assert deep[1] <= 6
    assert deep[0] < 0.9 * shallow[0]


def test_the_penalty_cannot_be_evaded(tmp_path: Path) -> None:
    results = [fvu_and_l0(run(small("l1", l1=weight), tmp_path / str(weight))) for weight in (0.3, 3.0)]
    assert results[1][1] < 0.6 * results[0][1]
    assert results[0][0] < results[1][0] < 0.6
    goal, model = prepared(l1=1.0, decoder_widths=(11, 10))
    goal.initialise(model, torch.zeros(3, 9), 0)
    before = [float(layer.rows.detach().norm()) for layer in model.decoder_layers]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(7)
    goal.after_step(model, goal.loss(model, inputs(1.0)))
    after = [float(layer.rows.detach().norm()) for layer in model.decoder_layers]
    np.testing.assert_allclose(after, before, rtol=0.3)
    torch.testing.assert_close(model.decoder_layers[0].rows.detach().norm(dim=0), torch.ones(24))


@pytest.mark.parametrize("setting", SPARSITY)
def test_a_cut_run_ends_with_the_same_bits(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(setting, steps=120, dead_after=300, decoder_widths=(20, 30), weight_decay=1e-4)
    whole = run(config, tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", progress=StopAt(47))
    assert weights_sha256(run(config, tmp_path / "cut")) == weights_sha256(whole)


@pytest.mark.parametrize("transform", ["scale", "zca", "none"])
def test_a_deep_transcoder(transform: Any, tmp_path: Path) -> None:
    config = small("k", k=12, input_transform=transform)
    out = train(pairs(), config, tmp_path / "run", description=DESCRIPTION, device="cpu")
    sae, table = load_sae(out), pairs()
    x, y = table.pairs(np.arange(table.n_rows))
    assert (sae.d_out, sae.config.transcoder) == (24, True)
    assert float((y - sae(x).reconstruction).square().sum() / (y - y.mean(0)).square().sum()) < 0.3


def test_a_target_l0_is_its_k(tmp_path: Path) -> None:
    out = run(TrainingConfig("deep", n_features=96, target_l0=5, steps=30, batch_size=64), tmp_path / "run")
    config: Any = load_sae(out).config
    assert (config.k, config.encoder_widths, config.decoder_widths) == (5, (128,), (128,))


def test_no_hidden_layers(tmp_path: Path) -> None:
    sae = load_sae(run(small("k", encoder_widths=(), decoder_widths=(), steps=30), tmp_path / "run"))
    assert sae.atoms.shape == (96, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 3, "tied": True}, "--tied is a setting of .*; deep has no use for it"),
        ({"k": 3, "apply_b_dec_to_input": True}, "--pre-bias is a setting of"),
        ({"k": 3, "decoder_norm": "unit"}, "--decoder-norm is a setting of .*; deep has no use for it"),
        ({"k": 3, "revival": "resample"}, "expected auxk or none"),
        ({"k": 3, "l1": 2.0}, "takes one sparsity setting, --k or --l1 or --rho; --k and --l1 given"),
        ({}, "takes one sparsity setting, --k or --l1 or --rho; none given"),
        ({"rho": 0.05, "revival": "auxk"}, "with --rho every feature always does a little"),
        ({"rho": 1.5}, "rho is 1.5"),
        ({"target_l0": 2.5}, "whole number"),
        ({"k": 3, "encoder_widths": (0, 4)}, "encoder_widths is"),
    ],
)
def test_settings_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingConfig("deep", n_features=20, **fields)


def test_widths_are_settings_of_layered_members_alone() -> None:
    with pytest.raises(UserError, match=r"--encoder-widths is a setting of .*deep.*; topk has no use for it"):
        TrainingConfig("topk", n_features=20, k=3, encoder_widths=(4,))
