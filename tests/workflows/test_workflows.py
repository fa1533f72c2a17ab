"""Workflows as a notebook calls them: what is judged was not trained on, and what a caller should know is said."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from saescope.sources import SourceOptions, held_out_items, open_source
from saescope.store import FeatureStore
from saescope.store.errors import UserError
from saescope.training import TrainingConfig
from saescope.workflows import SweepPlan, WorkflowNote, build, evaluate, sweep, train

DIGITS = SourceOptions(images="embedded:digits")
TOPK = TrainingConfig(architecture="topk", n_features=32, k=4, steps=40)


def test_metrics_come_from_the_items_that_training_held_out(tmp_path: Path) -> None:
    trained = train(DIGITS, TOPK, tmp_path / "digits-topk")
    built = build(trained.checkpoint, DIGITS, tmp_path / "store")
    assert built.sae_id == "digits-topk"
    evaluation = evaluate(trained.checkpoint, DIGITS)
    n_held_out = int(np.count_nonzero(held_out_items(open_source(DIGITS))))
    assert evaluation.n_positions == n_held_out == 180
    assert not evaluation.trained_on
    entry = FeatureStore(tmp_path / "store")[built.sae_id]
    assert entry.manifest.n_metric_positions == n_held_out
    assert entry.metrics["fvu"] == evaluation.metrics["fvu"]


def test_metrics_of_an_sae_that_saw_all_items_are_said_to_be_in_sample(tmp_path: Path) -> None:
    everything = SourceOptions(activations=str(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 50, 8)).astype(np.float32))  # one item
    trained = train(everything, TrainingConfig(architecture="topk", n_features=16, k=2, steps=5), tmp_path / "one")
    heard: list[str] = []
    build(trained.checkpoint, everything, tmp_path / "store", note=heard.append)
    assert any("trained on" in text for text in heard)
    with pytest.warns(WorkflowNote, match="trained on"):
        build(trained.checkpoint, everything, tmp_path / "store", sae_id="again")


def test_a_sweep_divides_its_source_by_itself_and_is_reused(tmp_path: Path) -> None:
    plan = SweepPlan("digits", DIGITS, {"architecture": "topk", "n_features": 32, "steps": 40}, [2, 4])
    first, again = sweep(plan, tmp_path / "store"), sweep(plan, tmp_path / "store")
    assert [entry.sae_id for entry in first] == ["digits-topk-k2", "digits-topk-k4"]
    assert not any(entry.reused for entry in first)
    assert all(entry.reused for entry in again)
    manifest = FeatureStore(tmp_path / "store")["digits-topk-k4"].manifest
    assert (manifest.n_positions, manifest.n_metric_positions) == (1797, 180)


def test_settings_that_a_member_without_sparsity_has_not_are_not_offered() -> None:
    for architecture, offered in (("topk", True), ("undercomplete", False)):
        plan = SweepPlan("digits", DIGITS, {"architecture": architecture, "n_features": 32}, [2], vary="nothing")
        with pytest.raises(UserError, match=f"nothing is no setting of {architecture} that takes numbers") as refused:
            _ = plan.parameter
        assert ("target_l0" in str(refused.value)) == offered


def test_the_lines_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python-api.md").read_text(encoding="utf-8")
    [program] = [code for code in re.findall(r"```python\n(.*?)```", page, re.S) if "import SweepPlan" in code]
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WorkflowNote)
        exec(program.replace("n_features=192", "n_features=32, steps=40").replace("192}", '32, "steps": 40}'), {})
    assert sorted(FeatureStore("store")) == [
        "digits-relu-l1-1",
        "digits-relu-l1-2",
        "digits-relu-l1-4",
        "digits-topk-k8",
    ]
