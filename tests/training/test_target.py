"""A target L0: what follows it, what is held out for it, and what a run arrives at on rows that it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.autoencoders.registry import settings_of
from saescope.autoencoders.settings.run import DataSize
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.data import hold_out
from saescope.training.l0_control import L0Controller
from tests.training.arrays import DESCRIPTION, ArrayTable, digits, settings
from tests.training.test_run import new_run
from tests.training.test_train import Interrupted, StopAt


def halves() -> tuple[ArrayTable, np.ndarray]:
    order = np.random.default_rng(3).permutation(digits().n_rows)
    values = digits().values[order]
    return ArrayTable(values[300:]), values[:300]


@pytest.mark.parametrize(
    ("architecture", "p_end"),
    [("relu", 1.0), ("relu", 0.5), ("gated", 1.0), ("jumprelu", 1.0), ("kl", 1.0), ("batchtopk", 1.0)],
)
def test_a_run_arrives_at_its_target_on_rows_that_it_never_saw(architecture: str, p_end: float, tmp_path: Path) -> None:
    table, unseen = halves()
    config = TrainingConfig(architecture, 128, target_l0=12, steps=1500, batch_size=128, p_end=p_end)
    out = train(table, config, tmp_path / "run", description=DESCRIPTION, device="cpu")
    sae = load_sae(out)
    codes = sae.encode(ArrayTable(unseen).rows(np.arange(300)))
    l0 = float((codes.abs() > sae.config.firing_threshold).sum(1).float().mean())
    assert l0 == pytest.approx(12, rel=0.12)
    if architecture != "batchtopk":
        reached = native.read_config(out)["training"]["reached"]
        assert reached["target_l0"] == 12
        assert reached["setting"] == settings_of(architecture).sparsity[0]
        assert reached["value"] > 0
        assert reached["l0"] == pytest.approx(12, rel=0.1)


def controller(architecture: str = "relu", **own: float) -> L0Controller:
    config = TrainingConfig(architecture, 512, target_l0=8, steps=1000, **own)
    return L0Controller(config.resolve(DataSize(1000, 64)).objective())


def test_the_wanted_l0_falls_fast_and_then_slowly() -> None:
    rule = controller()
    rule.update(256, 0.5, 0)
    values = []
    for step, wanted in ((100, 256 * (8 / 256) ** (1 - 0.75**2)), (200, 256 * (8 / 256) ** 0.75), (400, 8), (900, 8)):
        before = rule.value
        rule.update(wanted, 0.5, step - 1)  # no error: nothing moves
        values.append(rule.value / before)
    assert values == pytest.approx([1] * 4, abs=0.02)


def test_a_weight_shrinks_where_the_code_costs_as_much_as_none() -> None:
    cheap, dear = controller(), controller()
    for step in range(200):
        cheap.update(256, 0.9, step)
        dear.update(256, 1.0, step)
    assert cheap.value > 1 > dear.value
    assert dear.value > 0


def test_a_rate_stays_a_rate() -> None:
    rule = controller("kl")
    first = 8 / 512
    for l0, bound, rho, weight in ((512, 1e-4 * first, 0.4 * first, 3 * 0.4 / 1e-4), (0, 0.5, 0.5, 3)):
        for step in range(5000):
            rule.update(l0, 0.5, step)
        assert rule.value == pytest.approx(bound)
        reached = rule.reached()
        assert (reached["setting"], reached["value"]) == ("rho", pytest.approx(rho))
        assert reached["kl_weight"] == pytest.approx(weight)


def test_thresholds_are_led_by_where_their_l0_is_going() -> None:
    values = {}
    for name in ("relu", "jumprelu"):
        rule = controller(name)
        for step, l0 in enumerate((16.0, 15.0, 14.0, 13.0), start=600):  # falling, but above the target
            rule.update(l0, 0.5, step)
        values[name] = rule.value
    assert values["relu"] > 1 > values["jumprelu"]


def test_a_target_below_what_rho_reaches_is_met_by_the_weight(tmp_path: Path) -> None:
    config = TrainingConfig("kl", 128, target_l0=3, kl_weight=0.1, steps=1500, batch_size=128)
    out = train(digits(), config, tmp_path / "run", description=DESCRIPTION, device="cpu")
    reached = native.read_config(out)["training"]["reached"]
    assert reached["l0"] == pytest.approx(3, rel=0.1)
    assert reached["value"] == pytest.approx(0.4 * 3 / 128)
    assert reached["kl_weight"] > 0.1


@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu"])
def test_the_cost_of_a_code_of_zeros_is_one(architecture: str) -> None:
    run = new_run(digits(), architecture, target_l0=6.0)
    seen: list[float] = []

    def update(l0: float, cost: float, step: int, n_steps: int = 1) -> None:
        seen.append(cost)

    assert run.l0_controller is not None
    run.l0_controller.update = update  # type: ignore[method-assign]
    with torch.no_grad():
        for name, tensor in run.model.state_dict().items():
            if name != "b_dec":
                tensor.zero_()
            if "threshold" in name:
                tensor.fill_(1.0)
    x = run.data.batch(np.arange(digits().n_rows)).x
    run.advance(x)
    assert seen == [pytest.approx(1, rel=0.02)]


def test_a_cut_run_with_a_target_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig("relu", 64, target_l0=10, steps=80, batch_size=64)
    whole = train(digits(), config, tmp_path / "whole", description=DESCRIPTION, device="cpu")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train(digits(), config, tmp_path / "cut", description=DESCRIPTION, device="cpu", progress=StopAt(37))
    cut = train(digits(), config, tmp_path / "cut", description=DESCRIPTION, device="cpu")
    assert weights_sha256(cut) == weights_sha256(whole)
    assert native.read_config(cut)["training"] == native.read_config(whole)["training"]


def test_held_out_rows_are_not_trained_on() -> None:
    table = ArrayTable(np.arange(1000)[:, None])
    rest, held_out = hold_out(table)
    assert held_out is not None
    both = [part.rows(np.arange(part.n_rows)).squeeze(1).tolist() for part in (rest, held_out)]
    assert len(both[1]) == 50
    assert sorted(both[0] + both[1]) == list(range(1000))
    small = ArrayTable(np.arange(100)[:, None])
    assert hold_out(small) == (small, None)


def test_what_keeps_k_features_takes_the_target_as_k() -> None:
    for name in ("topk", "batchtopk", "matryoshka", "abstopk", "groupmax"):
        resolved = TrainingConfig(name, 64, target_l0=16).resolve(DataSize(1000, 8))
        assert (settings(resolved).k, settings(resolved).target_l0) == (16, None)
    with pytest.raises(UserError, match=r"target_l0 is 2\.5, but topk keeps a whole number"):
        TrainingConfig("topk", 64, target_l0=2.5)
    with pytest.raises(UserError, match="an L0 lies between 0 and n_features, 64"):
        TrainingConfig("relu", 64, target_l0=65)
    with pytest.raises(UserError, match="--l1 and --target-l0 given"):
        TrainingConfig("relu", 64, l1=1.0, target_l0=6)
