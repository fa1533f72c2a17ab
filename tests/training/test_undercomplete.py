"""Undercomplete autoencoders: losses in NumPy, exact resuming, what is refused, and what they reach beside PCA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.processes import Processes
from saescope.autoencoders.objectives.protocol import Objective, StepInputs
from saescope.autoencoders.settings.run import DataSize
from saescope.autoencoders.undercomplete.module import UndercompleteAutoencoder
from saescope.checkpoints import load_sae, weights_sha256
from saescope.sources import SourceOptions
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.workflows import SweepPlan, sweep
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_train import Interrupted, StopAt
from tests.training.test_transcoders import pairs


def config_of(**fields: Any) -> TrainingConfig:
    small = {"n_features": 8, "steps": 120, "batch_size": 64, "encoder_widths": (48,), "activation": "leaky_relu"}
    return TrainingConfig("undercomplete", **{**small, **fields})


def run(config: TrainingConfig, out: Path, **fields: Any) -> Path:
    return train(digits(), config, out, description=DESCRIPTION, device="cpu", **fields)


def prepared(**fields: Any) -> tuple[Objective[Any, Any], UndercompleteAutoencoder, StepInputs]:
    goal = config_of(n_features=3, encoder_widths=(6, 5), **fields).resolve(DataSize(1000, 9, None, (0, 1))).objective()
    model = goal.new_model(9)
    x = torch.rand(40, 9, generator=torch.Generator().manual_seed(1))
    goal.initialise(model, x, 0)
    return goal, model, StepInputs(x, 7, 7.5, torch.zeros(3, dtype=torch.int64), 0.0)


def test_losses() -> None:
    goal, model, given = prepared()
    x = given.x.double().numpy()
    rebuilt = model(given.x).reconstruction.detach().double().numpy()
    result = goal.loss(model, given)
    squared = ((x - rebuilt) ** 2).sum(1).mean()
    assert result.total.item() == pytest.approx(squared / 9, rel=1e-5)
    assert result.squared_error.item() == pytest.approx(squared, rel=1e-5)
    assert result.firing.tolist() == [40, 40, 40]
    goal, model, given = prepared(loss="bce")
    p = model(given.x).reconstruction.detach().double().numpy()
    assert p.min() > 0
    assert p.max() < 1
    result = goal.loss(model, given)
    entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()
    assert result.total.item() == pytest.approx(entropy / 9, rel=1e-5)
    assert result.squared_error.item() == pytest.approx(((x - p) ** 2).sum(1).mean(), rel=1e-5)
    goal, model, given = prepared(loss="psnr")
    result = goal.loss(model, given)
    errors = ((x - model(given.x).reconstruction.detach().double().numpy()) ** 2).mean(1)
    assert result.total.item() == pytest.approx(np.log(errors + 1e-6).mean(), rel=1e-5)
    assert result.squared_error.item() == pytest.approx(9 * errors.mean(), rel=1e-5)


def test_first_outputs_are_near_the_mean() -> None:
    for fields in ({}, {"loss": "bce"}):
        _, model, given = prepared(**fields)
        with torch.no_grad():
            nothing = model.decode(torch.zeros(1, 3))[0]
        torch.testing.assert_close(nothing, given.x.mean(0), atol=1e-3, rtol=1e-3)


def test_the_loss_normalises_over_the_batch_and_drops_units() -> None:
    goal, model, given = prepared(batch_norm=True)
    x = given.x.double().numpy()
    t = {name: value.detach().double().numpy() for name, value in model.tensors().items()}
    h = x
    for side in ("enc", "dec"):
        for i in range(3):
            h = h @ t[f"W_{side}_{i}"] + t[f"b_{side}_{i}"]
            if i < 2:
                h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
                h = np.where(h > 0, h, 0.01 * h)
    result = goal.loss(model, given)
    assert result.total.item() == pytest.approx(((x - h) ** 2).mean(), rel=1e-4)
    goal, model, given = prepared(dropout=0.5)
    plain = (given.x - model(given.x).reconstruction).detach().square().mean()
    first, again = (goal.loss(model, given).total.item() for _ in range(2))
    other = goal.loss(model, StepInputs(given.x, 8, 7.5, given.silent, 0.0)).total.item()
    assert first == again
    assert len({first, other, plain.item()}) == 3


@pytest.mark.parametrize(
    "fields", [{}, {"batch_norm": True, "dropout": 0.2, "weight_decay": 1e-4}, {"loss": "bce"}], ids=str
)
def test_a_cut_run_ends_with_the_same_bits(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(encoder_widths=(20, 12), **fields)
    whole = run(config, tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", progress=StopAt(47))
    assert weights_sha256(run(config, tmp_path / "cut")) == weights_sha256(whole)


@pytest.mark.parametrize("fields", [{}, {"batch_norm": True}, {"loss": "bce"}], ids=str)
def test_it_rebuilds_digits_better_than_pca_of_the_same_width(fields: dict[str, Any], tmp_path: Path) -> None:
    sae = load_sae(run(config_of(steps=800, **fields), tmp_path / "run"))
    x = digits().rows(np.arange(digits().n_rows))
    with torch.no_grad():
        out = sae(x)
    centred = (x - x.mean(0)).double()
    spectrum = torch.linalg.svdvals(centred).square()
    pca = float(spectrum[8:].sum() / spectrum.sum())
    assert float((x - out.reconstruction).square().sum() / centred.square().sum()) < 0.85 * pca
    assert (out.codes < 0).any()


def test_the_decoder_mirrors_the_encoder_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    mirrored: Any = load_sae(run(config_of(encoder_widths=(20, 12), steps=2), tmp_path / "a")).config
    assert (mirrored.decoder_widths, mirrored.activation) == ((12, 20), "leaky_relu")
    told: Any = load_sae(run(config_of(encoder_widths=(20, 12), decoder_widths=(), steps=2), tmp_path / "b"))
    assert told.config.decoder_widths == ()
    assert told.atoms.shape == (8, 64)


def test_conditioned_on_noise(tmp_path: Path) -> None:
    config = config_of(corruption="gaussian", noise=(0.0, 0.4), noise_conditioning=True, steps=300, batch_norm=True)
    sae = load_sae(run(config, tmp_path / "run"))
    assert sae.config.noise_input
    x = digits().rows(np.arange(200))
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    told = torch.cat([noisy, torch.full((200, 1), 0.3)], dim=1)
    with torch.no_grad():
        assert float((sae(told).reconstruction - x).square().mean()) < 0.6 * float((noisy - x).square().mean())


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        (2.0, {}, r"each value as a probability, in \[0, 1\], but the data lie between 0 and 2\nuse --loss mse"),
        (1.0, {"input_transform": "scale"}, "'scale' standardises them\nuse --input-transform none, or --loss mse"),
        (1.0, {"input_transform": "zca"}, "'zca' standardises them"),
    ],
)
def test_bce_is_refused_for_what_is_no_probability(
    values: float, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    table = ArrayTable(digits().values * values)
    with pytest.raises(UserError, match=message):
        train(table, config_of(loss="bce", **fields), tmp_path / "run", description=DESCRIPTION, device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_transcoder_has_no_bce_but_is_trained_otherwise(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a transcoder's targets are a model's activations\nuse --loss mse"):
        train(pairs(), config_of(loss="bce"), tmp_path / "bce", description=DESCRIPTION, device="cpu")
    sae = load_sae(train(pairs(), config_of(steps=400), tmp_path / "run", description=DESCRIPTION, device="cpu"))
    x, y = pairs().pairs(np.arange(pairs().n_rows))
    with torch.no_grad():
        assert float((y - sae(x).reconstruction).square().sum() / (y - y.mean(0)).square().sum()) < 0.6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 3}, "--k is given, but nothing makes the code of undercomplete sparse"),
        ({"target_l0": 3.0}, "--target-l0 is given, but nothing makes the code"),
        ({"loss": "mae"}, "loss is 'mae', expected mse, bce or psnr"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"activation": "gelu"}, "activation is 'gelu', expected relu or leaky_relu"),
        ({"encoder_widths": (0,)}, "encoder_widths is"),
        ({"tied": True}, "--tied is a setting of"),
    ],
)
def test_settings_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(**fields)


def test_batch_normalisation_needs_a_batch_and_one_process(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compares the positions of a batch"):
        run(config_of(batch_norm=True, batch_size=1), tmp_path / "run")
    goal = config_of(batch_norm=True).resolve(DataSize(1000, 9)).objective()
    goal.processes = Processes(0, 2)
    with pytest.raises(UserError, match="which 2 processes share\nleave --batch-norm out"):
        goal.new_model(9)


def test_a_bottleneck_that_could_copy_is_told() -> None:
    free = config_of(n_features=64)
    assert "64 units for 64 dimensions and no constraint" in free.own.remarks(free.run, 64)[0]
    for fields in ({"n_features": 63}, {"dropout": 0.1}, {"corruption": "masking", "noise": (0.5,)}):
        bound = config_of(**{"n_features": 64, **fields})
        assert bound.own.remarks(bound.run, 64) == ()


def test_a_sweep_over_its_width(tmp_path: Path) -> None:
    training = {"architecture": "undercomplete", "steps": 40, "batch_size": 64, "encoder_widths": (20,)}
    plan = SweepPlan("d", SourceOptions(images="embedded:digits"), training, [4, 70])
    told: list[str] = []
    entries = sweep(plan, tmp_path / "store", device="cpu", note=told.append)
    assert [e.sae_id for e in entries] == ["d-undercomplete-n-features-4", "d-undercomplete-n-features-70"]
    assert len(told) == 1
    assert told[0].startswith("d-undercomplete-n-features-70: the code has 70 units for 64 dimensions")
    assert not verify(tmp_path / "store")
    with FeatureStore(tmp_path / "store") as store:
        features = store["d-undercomplete-n-features-4"].table("features").to_pylist()
        assert [f["is_dead"] for f in features] == [False] * 4
        assert store["d-undercomplete-n-features-4"].metrics["l0"] == 4
