"""A target L0: what follows it, what is set aside for it, and what a run arrives at on rows that it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saescope.checkpoints import load_sae, native, weights_sha256
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.data import set_aside
from saescope.training.objectives import DataSize, objective
from tests.training.arrays import DESCRIPTION, ArrayTable, digits
from tests.training.test_train import Interrupted, StopAt


def halves() -> tuple[ArrayTable, np.ndarray]:
    order = np.random.default_rng(3).permutation(digits().n_rows)
    values = digits().values[order]
    return ArrayTable(values[300:]), values[:300]


@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu", "kl", "batchtopk"])
def test_a_run_arrives_at_its_target_on_rows_that_it_never_saw(architecture: str, tmp_path: Path) -> None:
    table, unseen = halves()
    config = TrainingConfig(architecture, 128, target_l0=12, steps=1500, batch_size=128)
    out = train(table, config, tmp_path / "run", description=DESCRIPTION, device="cpu")
    sae = load_sae(out)
    codes = sae.encode(ArrayTable(unseen).rows(np.arange(300)))
    l0 = float((codes.abs() > sae.config.firing_threshold).sum(1).float().mean())
    assert l0 == pytest.approx(12, rel=0.12)
    if architecture != "batchtopk":
        reached = native.read_config(out)["training"]["reached"]
        assert reached["target_l0"] == 12
        assert reached["setting"] == objective(architecture).sparsity
        assert reached["value"] > 0
        assert reached["l0"] == pytest.approx(12, rel=0.1)


def test_a_cut_run_with_a_target_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig("relu", 64, target_l0=10, steps=80, batch_size=64)
    whole = train(digits(), config, tmp_path / "whole", description=DESCRIPTION, device="cpu")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        train(digits(), config, tmp_path / "cut", description=DESCRIPTION, device="cpu", progress=StopAt(37))
    cut = train(digits(), config, tmp_path / "cut", description=DESCRIPTION, device="cpu")
    assert weights_sha256(cut) == weights_sha256(whole)
    assert native.read_config(cut)["training"] == native.read_config(whole)["training"]


def test_rows_set_aside_are_not_trained_on() -> None:
    table = ArrayTable(np.arange(1000)[:, None])
    rest, aside = set_aside(table)
    assert aside is not None
    both = [part.rows(np.arange(part.n_rows)).squeeze(1).tolist() for part in (rest, aside)]
    assert len(both[1]) == 50
    assert sorted(both[0] + both[1]) == list(range(1000))
    small = ArrayTable(np.arange(100)[:, None])
    assert set_aside(small) == (small, None)


def test_what_keeps_k_features_takes_the_target_as_k() -> None:
    for name in ("topk", "batchtopk", "matryoshka", "abstopk", "groupmax"):
        recipe = objective(name).resolve(TrainingConfig(name, 64, target_l0=16), DataSize(1000, 8))
        assert (recipe.k, recipe.target_l0) == (16, None)
    with pytest.raises(UserError, match=r"target_l0 is 2\.5, but topk keeps a whole number"):
        TrainingConfig("topk", 64, target_l0=2.5)
    with pytest.raises(UserError, match="an L0 lies between 0 and n_features, 64"):
        TrainingConfig("relu", 64, target_l0=65)
    with pytest.raises(UserError, match="--l1 and --target-l0 given"):
        TrainingConfig("relu", 64, l1=1.0, target_l0=6)
