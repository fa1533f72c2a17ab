"""What a step does around the loss: order of the data, learning rate, unit atoms, dead features and their revival."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.settings.defaults import default_batch, default_steps
from saescope.autoencoders.settings.run import DataSize
from saescope.training import TrainingConfig
from saescope.training.adam import Adam
from saescope.training.data import Shuffle, TrainingData
from saescope.training.input_transform import fit
from saescope.training.resampling import resample
from saescope.training.run import Run
from saescope.training.schedule import learning_rate
from tests.training.arrays import ArrayTable, digits


def new_run(table: ArrayTable, architecture: str, **fields: Any) -> Run:
    config = TrainingConfig(architecture, **{"n_features": 64, "steps": 200, "batch_size": 64, **fields})
    resolved = config.resolve(DataSize(table.n_rows, table.d_in))
    transform = fit(table, resolved.run.input_transform)
    return Run(resolved, TrainingData(table, transform, torch.device("cpu")))


def moments_of(run: Run, parameter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Adam's running means of gradients and of squared gradients."""
    adam = run.optimiser
    return next((m, s) for p, m, s in zip(adam.parameters, adam.means, adam.squares, strict=True) if p is parameter)


def advance(run: Run, steps: int) -> None:
    shuffle = Shuffle(run.data.table, run.settings.batch_size, run.settings.seed)
    for step in range(run.step, run.step + steps):
        run.advance(run.data.rows(shuffle.indices(step)))


@pytest.mark.parametrize("batch", [3, 10, 25])
def test_every_epoch_has_every_row_once_in_its_own_order(batch: int) -> None:
    ten = ArrayTable(np.zeros((10, 1)))
    shuffle = Shuffle(ten, batch, seed=4)
    stream = np.concatenate([shuffle.indices(step) for step in range(30)])
    epochs = stream[: len(stream) // 10 * 10].reshape(-1, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    assert (Shuffle(ten, batch, seed=4).indices(17) == stream[17 * batch : 18 * batch]).all()


def test_the_rate_warms_up_and_decays_and_starts_again_for_a_refit() -> None:
    config = TrainingConfig("relu", 8, l1=1.0, steps=100, batch_size=8, lr=1.0, lr_warmup=0.1, lr_decay=0.5, refit=0.2)
    resolved = config.resolve(DataSize(100, 4))
    rates = [learning_rate(resolved.run, step, refit=0.2) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 8)
    assert rates[8:40] == [1.0] * 32
    assert rates[60] == pytest.approx(0.5)
    assert rates[79] == pytest.approx(1 / 40)
    assert rates[80] == 1.0
    assert rates[99] == pytest.approx(1 / 20)


def test_defaults_follow_the_size_of_the_data() -> None:
    assert [default_batch(n) for n in (5, 1_617, 60_000, 10**6, 10**9)] == [5, 128, 256, 1_024, 4_096]
    assert default_steps(1_617, 128) == 3_000
    assert default_steps(60_000, 256) == 25 * 235
    assert default_steps(10**6, 1_024) == 8_000
    assert default_steps(10**9, 4_096) == 244_141


def test_atoms_stay_unit_and_move_only_across_themselves() -> None:
    run = new_run(digits(), "topk", k=4)
    advance(run, 5)
    torch.testing.assert_close(run.model.atoms.norm(dim=1), torch.ones(64))
    run._remove_parallel_gradient()
    gradient = run.model.W_dec.grad
    assert gradient is not None
    along = (gradient * run.model.atoms).sum(1)
    torch.testing.assert_close(along, torch.zeros(64), atol=1e-5, rtol=0)
    free = new_run(digits(), "topk", k=4, decoder_norm="free")
    advance(free, 5)
    assert float((free.model.atoms.norm(dim=1) - 1).abs().max()) > 1e-3


def test_tied_weights_stay_tied() -> None:
    run = new_run(digits(), "relu", l1=1.0, tied=True)
    advance(run, 20)
    assert torch.equal(run.model.W_enc, run.model.W_dec.T)
    assert len(list(run.model.parameters())) == 3


def test_silence_is_counted_in_positions() -> None:
    run = new_run(digits(), "topk", k=1, revival="none")
    fired_at: dict[int, int] = {}
    shuffle = Shuffle(digits(), 64, 0)
    for step in range(12):
        x = run.data.rows(shuffle.indices(step))
        for feature in run.model.encode(x).gt(0).any(0).nonzero().squeeze(1).tolist():
            fired_at[feature] = step
        run.advance(x)
    expected = [(11 - fired_at.get(feature, -1)) * 64 for feature in range(64)]
    assert run.silent.tolist() == expected
    assert max(expected) > 64


@pytest.mark.parametrize(("architecture", "own"), [("relu", {"l1": 0.5}), ("topk", {"k": 3}), ("kl", {"rho": 0.1})])
def test_killed_features_come_back(architecture: str, own: dict[str, Any]) -> None:
    fields = {**own, "steps": 400, "dead_after": 640, "resample_every": 20, "resample_until": 0.9}
    for revival, all_back in (("resample", True), ("none", False)):
        run = new_run(digits(), architecture, revival=revival, **fields)
        killed = torch.arange(20, 30)
        with torch.no_grad():
            run.model.b_enc[killed] = -1e4
        advance(run, 360)
        codes = run.model.encode(run.data.rows(np.arange(digits().n_rows)))
        back = codes[:, killed].gt(run.model.config.firing_threshold).any(0)
        assert bool(back.all()) == all_back, revival
        assert bool(back.any()) == all_back


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ({"architecture": "relu", "l1": 0.5}, True),
        ({"architecture": "relu", "l1": 0.5, "decoder_norm": "unit"}, False),
        ({"architecture": "gated", "l1": 0.5}, True),
        ({"architecture": "jumprelu", "l0_weight": 0.5}, False),
    ],
)
def test_resampling_takes_the_directions_of_bad_errors_and_restarts_moments(given: dict[str, Any], usual: bool) -> None:
    run = new_run(digits(), **given)
    advance(run, 10)
    dead = torch.tensor([3, 40])
    untouched = [f for f in range(64) if f not in (3, 40)]
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    moments = {name: [m.clone() for m in moments_of(run, p)] for name, p in run.model.named_parameters()}
    x = run.data.rows(np.arange(500))
    error = x - run.model(x).reconstruction
    resample(run.model, run.optimiser, dead, x, torch.Generator().manual_seed(0), run.objective)
    directions = (error / error.norm(dim=1, keepdim=True)).detach()
    norm = before["W_dec"][untouched].norm(dim=1).mean()
    torch.testing.assert_close(run.model.atoms[dead].norm(dim=1), norm.expand(2))
    for feature in dead.tolist():
        assert float((directions @ run.model.atoms[feature]).max() / norm) == pytest.approx(1.0, abs=1e-5)
        assert run.model.b_enc[feature].item() == 0.0
    living = before["encoder"][untouched].norm(dim=1).mean()
    torch.testing.assert_close(run.model.encoder[dead].norm(dim=1), (0.2 * living).expand(2))
    for name, p in run.model.named_parameters():
        if name != "b_dec":
            assert torch.equal(p[untouched], before[name][untouched])
            (mean, square), (mean_before, square_before) = moments_of(run, p), moments[name]
            assert float(mean[dead].abs().max()) == 0.0
            others = square_before[untouched].mean(0) * usual
            torch.testing.assert_close(square[dead], others.expand_as(square[dead]))
            assert torch.equal(mean[untouched], mean_before[untouched])
            assert torch.equal(square[untouched], square_before[untouched])


@pytest.mark.slow
def test_a_dictionary_is_found_again() -> None:
    """48 unit features in 24 dimensions, each on with probability 0.04: learned atoms match the true ones."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(48, 24))
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    on = rng.random((20_000, 48)) < 0.04
    table = ArrayTable((on * rng.uniform(0.5, 1.5, on.shape)) @ true)
    run = new_run(table, "topk", n_features=64, k=3, steps=2_500, batch_size=256)
    advance(run, 2_500)
    best = (run.model.atoms.numpy() @ true.T).max(0)
    assert best.mean() > 0.93
    assert (best > 0.9).mean() > 0.85


def test_restarted_rows_take_usual_steps_or_three_times_as_long() -> None:
    parameter = torch.nn.Parameter(torch.zeros(6, 2))
    adam = Adam([parameter], 0.9, 0.999, 1e-8)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5_000):
        parameter.grad = torch.randn(6, 2, generator=generator)
        adam.step(0.01)
    before = parameter.detach().clone()
    adam.restart_rows(parameter, torch.tensor([1, 4]), usual_steps=True)
    adam.restart_rows(parameter, torch.tensor([2]), usual_steps=False)
    parameter.grad = torch.ones(6, 2)
    adam.step(0.01)
    moved = (before - parameter.detach()) / 0.01
    torch.testing.assert_close(moved[[1, 4]], torch.full((2, 2), 0.1), rtol=0.3, atol=0)  # 1 - beta1
    torch.testing.assert_close(moved[2], torch.full((2,), 0.1 / 0.001**0.5), rtol=0.3, atol=0)
    adam.restart_rows(parameter, torch.arange(6), usual_steps=True)
    assert all(float(t.abs().max()) == 0.0 for t in (*adam.means, *adam.squares))


def test_adam_and_clipping_are_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    own = [torch.nn.Parameter(torch.randn(5, 3, generator=generator)), torch.nn.Parameter(torch.zeros(4))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in own]
    adam, reference = Adam(own, 0.9, 0.99, 1e-8), torch.optim.Adam(theirs, lr=0.1, betas=(0.9, 0.99))
    for step in range(6):
        for a, b in zip(own, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator) * 10.0 ** (step - 3)
            b.grad = a.grad.clone()
        adam.clip(1.0)
        adam.step(0.1)
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        reference.step()
    for a, b in zip(own, theirs, strict=True):
        torch.testing.assert_close(a, b)
