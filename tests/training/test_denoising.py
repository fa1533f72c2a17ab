"""Training on corrupted inputs: what a step sees, that runs resume exactly, and what checkpoints record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.processes import Processes
from saescope.autoencoders.objectives.protocol import OF_CORRUPTION, StepInputs, step_generator
from saescope.autoencoders.registry import trainable
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.store.errors import OptionError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.adam import Adam
from saescope.training.data import TrainingData, data_size, hold_out
from saescope.training.input_transform import fit
from saescope.training.resampling import resample
from saescope.training.run import Run
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_train import SPARSITY, Interrupted, StopAt

IMAGES = {**DESCRIPTION, "input_shape": (8, 8, 1)}
GAUSSIAN: dict[str, Any] = {"corruption": "gaussian", "noise": (0.0, 0.8), "noise_range": (0.0, 1.0)}
SPARSE = {**SPARSITY, "deep": {"k": 6, "encoder_widths": (40,), "decoder_widths": (40,)}, "variational": {"beta": 0.01}}


def config_of(architecture: str, **fields: Any) -> TrainingConfig:
    settings = {"n_features": 48, "steps": 60, "batch_size": 64, **SPARSE.get(architecture, {}), **fields}
    return TrainingConfig(architecture, **settings)


def new_run(config: TrainingConfig, table: ArrayTable) -> Run:
    resolved = config.resolve(data_size(table, IMAGES, [config]))
    transform = fit(table, resolved.run.input_transform)
    return Run(resolved, TrainingData(table, transform, torch.device("cpu"), shape=(8, 8, 1)))


def seen_by(run: Run, monkeypatch: pytest.MonkeyPatch, rows: np.ndarray) -> StepInputs:
    """What the loss is given in the run's next step."""
    seen: list[StepInputs] = []
    loss = run.objective.loss
    monkeypatch.setattr(run.objective, "loss", lambda model, inputs: (seen.append(inputs), loss(model, inputs))[1])
    run.advance(run.data.rows(rows))
    return seen[0]


@pytest.mark.parametrize("conditioning", [False, True])
def test_a_step_sees_corrupted_inputs_and_clean_targets(conditioning: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(config_of("topk", **GAUSSIAN, noise_conditioning=conditioning), digits())
    rows = np.arange(64)
    inputs = seen_by(run, monkeypatch, rows)
    generator = step_generator(run.settings, 0, torch.device("cpu"), purpose=OF_CORRUPTION)
    levels = 0.8 * torch.rand(64, generator=generator)
    clean = digits().rows(rows)
    noisy = (clean + levels[:, None] * torch.randn(64, 64, generator=generator)).clamp(0, 1)
    x = inputs.x[:, :64]
    torch.testing.assert_close(run.data.transform.invert(x), noisy, atol=1e-5, rtol=0)
    torch.testing.assert_close(run.data.transform.invert(inputs.target), clean, atol=1e-5, rtol=0)
    assert inputs.x.shape[1] == 64 + conditioning
    if conditioning:
        torch.testing.assert_close(inputs.x[:, 64], levels)


@pytest.mark.parametrize("architecture", ["topk", "relu", "deep"])
@pytest.mark.parametrize(
    "fields",
    [
        {**GAUSSIAN, "noise_conditioning": True},
        {"corruption": "salt_and_pepper", "noise": (0.3,), "noise_range": (0.0, 1.0)},
        {"corruption": "blur", "noise": (0.0, 2.0), "noise_per": "batch"},
    ],
)
def test_a_cut_run_ends_with_the_same_bits(
    architecture: str, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: Path, **more: Any) -> Path:
        return train(digits(), config_of(architecture, **fields), out, description=IMAGES, device="cpu", **more)

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", progress=StopAt(37))
    assert weights_sha256(run(tmp_path / "cut")) == weights_sha256(whole)


@pytest.mark.parametrize("architecture", trainable())
def test_every_architecture_can_be_told_the_level(architecture: str, tmp_path: Path) -> None:
    """The level is the last input, recorded as a choice, and taken as 0 where an input comes without one."""
    config = config_of(architecture, **GAUSSIAN, noise_conditioning=True)
    folder = train(digits(), config, tmp_path / "run", description=IMAGES, device="cpu")
    sae = load_sae(folder)
    x = digits().rows(np.arange(8))
    assert sae.config.noise_input
    assert (sae.d_in, sae.config.input_width) == (64, 65)
    with torch.no_grad():
        silent = sae(x).reconstruction
        told = [sae(torch.cat([x, torch.full((8, 1), level)], 1)).reconstruction for level in (0.0, 0.8)]
        sae.noise_level = 0.8
        assumed = sae(x).reconstruction
    assert silent.shape == (8, 64)
    assert torch.equal(silent, told[0])
    assert torch.equal(assumed, told[1])
    assert not torch.equal(told[0], told[1])


def test_the_corruption_is_recorded(tmp_path: Path) -> None:
    folder = train(digits(), config_of("topk", **GAUSSIAN), tmp_path / "run", description=IMAGES, device="cpu")
    recorded = native.read_config(folder)["training"]["config"]
    assert recorded["corruption"] == "gaussian"
    assert recorded["noise"] == [0.0, 0.8]
    assert recorded["noise_range"] == [0.0, 1.0]


def test_a_denoiser_takes_noise_away_that_its_plain_twin_leaves(tmp_path: Path) -> None:
    rows = digits().rows(np.arange(0, 1700))
    test = digits().rows(np.arange(1700, 1797))
    noisy = (test + 0.4 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    table = ArrayTable(rows.numpy())
    errors = []
    for name, fields in (("plain", {}), ("denoiser", {**GAUSSIAN, "noise": (0.4,)})):
        config = config_of("topk", steps=400, **fields)
        sae = load_sae(train(table, config, tmp_path / name, description=IMAGES, device="cpu"))
        with torch.no_grad():
            errors.append(float((sae(noisy).reconstruction - test).square().mean()))
    assert errors[1] < 0.7 * errors[0]
    assert errors[1] < 0.5 * float((noisy - test).square().mean())


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"tied": True}, "a noise input goes with no tied weights"), ({"apply_b_dec_to_input": True}, "b_dec")],
)
def test_conditioning_is_refused_where_the_encoder_has_no_place_for_it(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=words):
        train(
            digits(),
            config_of("topk", **GAUSSIAN, noise_conditioning=True, **fields),
            tmp_path / "run",
            description=IMAGES,
            device="cpu",
        )


def test_corruption_of_images_is_refused_for_other_activations(tmp_path: Path) -> None:
    config = config_of("topk", corruption="blur", noise=(1.0,))
    with pytest.raises(OptionError, match="is of images"):
        train(digits(), config, tmp_path / "run", description=DESCRIPTION, device="cpu")


def test_processes_share_the_noise_of_rows_that_all_of_them_see() -> None:
    """Each has noise of its own in its part of a batch; a target L0 is held against the same numbers everywhere."""
    config = config_of("relu", **GAUSSIAN, target_l0=5.0, l1=None)
    resolved = config.resolve(data_size(digits(), IMAGES, [config]))
    trained_on, held_out = hold_out(digits())
    transform = fit(digits(), resolved.run.input_transform)
    data = TrainingData(trained_on, transform, torch.device("cpu"), held_out=held_out, shape=(8, 8, 1))
    runs = [Run(resolved, data, Processes(rank, 2)) for rank in (0, 1)]
    first, second = (run.held_out for run in runs)
    assert first is not None
    assert data.held_out is not None
    assert second is not None
    assert torch.equal(first, second)
    assert not torch.equal(first, data.held_out)


def test_a_dead_feature_of_a_transcoder_that_is_told_the_level_starts_again() -> None:
    config = config_of("relu", **GAUSSIAN, noise_conditioning=True)
    resolved = config.resolve(data_size(digits(), IMAGES, [config]))
    objective = resolved.objective(d_target=10)
    model = objective.new_model(64)
    x = torch.rand(200, 65, generator=torch.Generator().manual_seed(0))
    objective.initialise(model, x, 0)
    optimiser = Adam(list(model.parameters()), 0.9, 0.999, 1e-8)
    dead = torch.tensor([3, 7])
    generator = torch.Generator().manual_seed(1)
    resample(model, optimiser, dead, x, generator, objective, torch.rand(200, 10, generator=generator))
    assert (model.encoder[dead, :64].norm(dim=1) > 0).all()
    assert (model.encoder[dead, 64] == 0).all()
