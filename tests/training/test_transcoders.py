"""Transcoders: trained on inputs and targets of different widths and scales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.protocol import StepInputs
from saescope.autoencoders.relu.module import ReluAutoencoder
from saescope.autoencoders.settings.run import DataSize
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.sources.targets import SideBySide
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, data, train, trainer
from saescope.training.adam import Adam
from saescope.training.resampling import resample
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_train import Interrupted, StopAt

SPARSITY: dict[str, dict[str, Any]] = {"topk": {"k": 12}, "relu": {"l1": 0.5}, "kl": {"rho": 0.05, "kl_weight": 0.05}}
D_OUT = 24


def mlp(x: torch.Tensor) -> torch.Tensor:
    """A random MLP with a linear part, in units and with an offset of its own."""
    generator = torch.Generator().manual_seed(0)
    up, down, straight = (torch.randn(*shape, generator=generator) for shape in ((64, 96), (96, D_OUT), (64, D_OUT)))
    return torch.relu(x @ up / 8) @ down * 3 + x @ straight + 20


def pairs() -> SideBySide:
    x = digits().rows(np.arange(digits().n_rows))
    return SideBySide(digits(), ArrayTable(mlp(x).numpy()))


def small(architecture: str, **fields: Any) -> TrainingConfig:
    settings = {"n_features": 96, "steps": 800, "batch_size": 128, **SPARSITY[architecture], **fields}
    return TrainingConfig(architecture, **settings)


def run(config: TrainingConfig, out: Path, **fields: Any) -> Path:
    return train(pairs(), config, out, description=DESCRIPTION, device="cpu", **fields)


def fvu_of(folder: Path) -> float:
    sae, table = load_sae(folder), pairs()
    x, y = table.pairs(np.arange(table.n_rows))
    rebuilt = sae(x).reconstruction
    return float((y - rebuilt).square().sum() / (y - y.mean(0)).square().sum())


@pytest.mark.parametrize("architecture", SPARSITY)
@pytest.mark.parametrize("transform", ["scale", "zca", "none"])
def test_the_target_is_reconstructed_in_its_own_units(architecture: str, transform: Any, tmp_path: Path) -> None:
    steps = 400 if transform != "scale" else 800
    out = run(small(architecture, input_transform=transform, steps=steps), tmp_path / "run")
    sae = load_sae(out)
    assert (sae.d_in, sae.d_out, sae.config.transcoder) == (64, D_OUT, True)
    assert fvu_of(out) < (0.3 if transform == "scale" else 0.5)
    whitening = native.read_whitening(out)
    assert (whitening is None) == (transform != "zca")
    if whitening is not None:
        assert whitening.matrix.shape == (D_OUT, D_OUT)


@pytest.mark.parametrize("architecture", SPARSITY)
def test_a_skip_term_takes_the_linear_part(architecture: str, tmp_path: Path) -> None:
    plain = run(small(architecture), tmp_path / "plain")
    skipping = run(small(architecture, skip=True), tmp_path / "skipping")
    assert load_sae(skipping).tensors()["W_skip"].abs().max() > 0.1
    assert fvu_of(skipping) < 0.8 * fvu_of(plain)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_a_cut_run_ends_with_the_same_bits(
    skip: bool, cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cached:
        monkeypatch.setattr(data, "CACHE_VALUES", 0)
    config = small("topk", steps=120, skip=skip, revival="both", k=3, dead_after=200, resample_every=20)
    whole = run(config, tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", progress=StopAt(47))
    cut = run(config, tmp_path / "cut")
    assert weights_sha256(cut) == weights_sha256(whole)


@pytest.mark.parametrize(
    ("architecture", "own"), [("topk", {"k": 2}), ("topk", {"k": 30}), ("relu", {"l1": 0}), ("kl", {"rho": 0.1})]
)
def test_losses_are_of_the_target(architecture: str, own: dict[str, Any]) -> None:
    config = TrainingConfig(architecture, n_features=90, batch_size=40, steps=100, skip=True, **own)
    goal = config.resolve(DataSize(1000, 9)).objective(5)
    model = goal.new_model(9)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    x, targets = torch.randn(40, 9, generator=generator), torch.randn(40, 5, generator=generator)
    result = goal.loss(
        model, StepInputs(x, 50, 7.5, torch.zeros(90, dtype=torch.int64), next(iter(own.values())), targets)
    )
    expected = (targets - model(x).reconstruction).square().sum(1).mean()
    torch.testing.assert_close(result.squared_error, expected.detach(), rtol=1e-4, atol=1e-4)
    result.total.backward()
    assert model.W_skip.grad is not None
    assert float(model.W_skip.grad.abs().min()) > 0


def test_a_resampled_feature_reads_the_input_and_writes_the_error() -> None:
    config = TrainingConfig("relu", n_features=30, l1=0.1, steps=10)
    goal = config.resolve(DataSize(1797, 64)).objective(D_OUT)
    x, y = pairs().pairs(np.arange(500))
    model = goal.new_model(64)
    assert isinstance(model, ReluAutoencoder)
    goal.initialise(model, x, 0)
    error = (y - model(x).reconstruction).detach()
    dead = torch.tensor([3, 20])
    resample(model, Adam(list(model.parameters()), 0.9, 0.999, 1e-8), dead, x, torch.Generator(), goal, y)
    read, written = x - x.mean(0), error / error.norm(dim=1, keepdim=True)
    read = read / read.norm(dim=1, keepdim=True)
    for feature in dead.tolist():
        row = model.encoder[feature].detach() / model.encoder[feature].detach().norm()
        atom = model.atoms[feature] / model.atoms[feature].norm()
        drawn = int((written @ atom).argmax())
        assert float(written[drawn] @ atom) == pytest.approx(1, abs=1e-5)
        assert float(read[drawn] @ row) == pytest.approx(1, abs=1e-5)


def test_other_targets_are_another_run(tmp_path: Path) -> None:
    config = small("topk", steps=10)
    out = tmp_path / "run"
    train(pairs(), config, out, description={**DESCRIPTION, "targets_sha256": "a"}, device="cpu")
    with pytest.raises(UserError, match="other settings or data"):
        train(pairs(), config, out, description={**DESCRIPTION, "targets_sha256": "b"}, device="cpu")


def test_settings_that_do_not_go_with_targets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="skip term would copy the input"):
        train(digits(), small("topk", skip=True), tmp_path / "a", description=DESCRIPTION)
    with pytest.raises(UserError, match="--tied is given, but a transcoder"):
        run(small("relu", tied=True), tmp_path / "b")
    with pytest.raises(UserError, match="--pre-bias is given, but a transcoder"):
        run(small("relu", apply_b_dec_to_input=True), tmp_path / "c")
    with pytest.raises(UserError, match="skip term is for transcoders"):
        small("relu", skip=True, tied=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("architecture", "own"),
    [
        ("abstopk", {"k": 12}),
        ("groupmax", {"k": 12}),
        ("batchtopk", {"k": 12}),
        ("matryoshka", {"k": 12}),
        ("gated", {"l1": 0.5}),
        ("jumprelu", {"l0_weight": 0.05}),
    ],
)
def test_every_architecture_trains_as_a_transcoder(architecture: str, own: dict[str, Any], tmp_path: Path) -> None:
    config = TrainingConfig(architecture, n_features=96, steps=300, batch_size=128, skip=True, **own)
    out = run(config, tmp_path / "run")
    assert load_sae(out).config.transcoder
    assert fvu_of(out) < 0.3
