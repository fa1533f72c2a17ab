"""Training on two noisy captures: either is the input and the other the target, by the seeded step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.protocol import OF_CORRUPTION, step_generator
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.sources.images.options import PixelOptions
from saescope.store import FeatureStore
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.data import CACHE_VALUES, TrainingData, data_size, hold_out
from saescope.training.input_transform import fit
from saescope.training.run import Run
from saescope.workflows import build
from saescope.workflows import train as train_workflow
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_denoising import config_of
from tests.training.test_train import Interrupted, StopAt

CLEAN = digits().values


class Captures(ArrayTable):
    """The digits, twice, each with noise of its own."""

    def __init__(self, noise: float = 0.3) -> None:
        random = np.random.default_rng(0)
        super().__init__(CLEAN + noise * random.normal(size=CLEAN.shape))
        self.second = ArrayTable(CLEAN + noise * random.normal(size=CLEAN.shape))

    def captures(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows(indices), self.second.rows(indices)


def new_run(config: TrainingConfig, table: Captures) -> Run:
    resolved = config.resolve(data_size(table, DESCRIPTION, [config]))
    return Run(resolved, TrainingData(table, fit(table, resolved.run.input_transform), torch.device("cpu")))


@pytest.mark.parametrize("cached", [True, False])
def test_either_capture_is_the_input_and_the_other_the_target(cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saescope.training.data.CACHE_VALUES", CACHE_VALUES if cached else 0)
    table, rows = Captures(), np.arange(64)
    run = new_run(config_of("topk"), table)
    assert run.data.is_cached == cached
    assert not run.model.config.transcoder
    batch = run.data.batch(rows)
    seen: list[Any] = []
    loss = run.objective.loss
    monkeypatch.setattr(run.objective, "loss", lambda model, inputs: (seen.append(inputs), loss(model, inputs))[1])
    run.advance(*batch)
    swapped = torch.rand(64, 1, generator=step_generator(run.settings, 0, torch.device("cpu"), purpose=OF_CORRUPTION))
    a, b = (run.data.transform.apply(t) for t in table.captures(rows))
    torch.testing.assert_close(seen[0].x, torch.where(swapped < 0.5, b, a))
    torch.testing.assert_close(seen[0].target, torch.where(swapped < 0.5, a, b))
    assert 0.2 < float((swapped < 0.5).float().mean()) < 0.8


def test_corruption_comes_on_top() -> None:
    run = new_run(config_of("topk", corruption="masking", noise=(0.5,)), Captures())
    batch = run.data.batch(np.arange(64))
    given = run._corrupted(batch, 0)
    raw = run.data.transform.invert(given.x)
    assert 0.4 < float((raw.abs() < 1e-5).float().mean()) < 0.6
    assert given.targets is not None
    assert float((run.data.transform.invert(given.targets).abs() < 1e-5).float().mean()) < 0.01


@pytest.mark.parametrize("architecture", ["topk", "undercomplete"])
def test_a_cut_run_ends_with_the_same_bits(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(out: Path, **more: Any) -> Path:
        return train(Captures(), config_of(architecture), out, description=DESCRIPTION, device="cpu", **more)

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", progress=StopAt(37))
    assert weights_sha256(run(tmp_path / "cut")) == weights_sha256(whole)


def test_a_loss_that_noise_in_the_target_would_move_is_refused(tmp_path: Path) -> None:
    config = config_of("undercomplete", loss="psnr")
    with pytest.raises(UserError, match="that of a noisy target is mostly its noise"):
        train(Captures(), config, tmp_path / "run", description=DESCRIPTION, device="cpu")


def test_rows_that_are_held_out_leave_the_captures_to_train_on() -> None:
    trained_on, held_out = hold_out(Captures())
    assert held_out is not None
    a, b = trained_on.captures(np.arange(5))  # type: ignore[attr-defined]
    torch.testing.assert_close(a, trained_on.rows(np.arange(5)))
    assert not torch.equal(a, b)


def test_the_other_captures_noise_is_not_learned(tmp_path: Path) -> None:
    """A capture that is its own target teaches to keep the noise."""
    table, x = Captures(), torch.from_numpy(CLEAN[:400])
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))

    errors = {}
    for name, data in (("noisy", table), ("alone", ArrayTable(table.values))):
        folder = train(
            data, config_of("undercomplete", n_features=64, steps=600), tmp_path / name, description=DESCRIPTION
        )
        with torch.no_grad():
            errors[name] = float((load_sae(folder)(noisy).reconstruction - x).square().mean())
    assert errors["noisy"] < 0.35 * 0.3**2
    assert errors["noisy"] < 0.6 * errors["alone"]


def test_the_pair_is_recorded_and_makes_another_run(tmp_path: Path) -> None:
    first, second = Captures(0.1), Captures(0.2)
    for name, values in (("a", first.values), ("b", first.second.values), ("c", second.second.values)):
        np.save(tmp_path / f"{name}.npy", values.reshape(-1, 8, 8))
    keys = []
    for pair in ("b", "c"):
        options = PixelOptions(images=str(tmp_path / "a.npy"), pair=str(tmp_path / f"{pair}.npy"))
        folder = train_workflow(options, config_of("topk", steps=5), tmp_path / pair).checkpoint
        training = native.read_config(folder)["training"]
        assert training["source"]["pair"] == options.pair
        keys.append(training["run_key"])
    assert keys[0] != keys[1]
    build(tmp_path / "b", PixelOptions(images=str(tmp_path / "a.npy")), tmp_path / "store", sae_id="paired")
    with FeatureStore(tmp_path / "store") as store:
        entry = store["paired"]
        assert entry.manifest.config["training"]["source"]["pair"] == str(tmp_path / "b.npy")
        assert entry.manifest.n_metric_positions == 180  # the same data: what training held out
