"""Whole runs on scikit-learn's digits: what they leave, that they resume exactly, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.store.errors import CheckpointError, UserError
from saescope.store.format.schema import TABLES
from saescope.training import TrainingConfig, data, run_folder, train, train_sweep, trainer
from tests.training.arrays import DESCRIPTION, ArrayTable, digits

SPARSITY: dict[str, dict[str, Any]] = {
    "topk": {"k": 6},
    "batchtopk": {"k": 6},
    "matryoshka": {"k": 6},
    "abstopk": {"k": 6},
    "groupmax": {"k": 6},
    "relu": {"l1": 3.0},
    "gated": {"l1": 2.0},
    "jumprelu": {"l0_weight": 1.0},
    "kl": {"rho": 0.05},
}


def small(architecture: str, **fields: Any) -> TrainingConfig:
    settings = {"n_features": 96, "steps": 120, "batch_size": 64, **SPARSITY[architecture], **fields}
    return TrainingConfig(architecture, **settings)


def run(config: TrainingConfig, out: Path, **fields: Any) -> Path:
    return train(digits(), config, out, description=DESCRIPTION, device="cpu", **fields)


class Interrupted(Exception):
    pass


class StopAt:
    """A display that stops the run from inside at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("training") and done == self.step:
            raise Interrupted


@pytest.mark.parametrize("architecture", SPARSITY)
def test_a_run_leaves_a_checkpoint_for_raw_activations_and_a_curve(architecture: str, tmp_path: Path) -> None:
    out = run(small(architecture, steps=400), tmp_path / "run")
    sae = load_sae(out)
    x = digits().rows(np.arange(digits().n_rows))
    result = sae(x)
    fvu = float((x - result.reconstruction).square().sum() / (x - x.mean(0)).square().sum())
    assert fvu < 0.5
    if architecture == "topk":
        assert int((result.codes > 0).sum(1).max()) <= 6
    recorded = native.read_config(out)["training"]
    assert recorded["seed"] == 0
    assert recorded["data_sha256"] == DESCRIPTION["data_sha256"]
    assert recorded["n_examples"] == 400 * 64
    assert recorded["config"]["steps"] == 400
    curve = pq.read_table(out / "training.parquet")
    assert curve.column_names[:2] == [c.name for c in TABLES["training"].columns]
    assert {"loss", "fvu", "l0", "dead_fraction", "lr"} <= set(curve.column_names)
    rows = curve.to_pylist()
    assert [row["n_examples"] for row in rows] == [row["step"] * 64 for row in rows]
    assert rows[-1]["step"] == 400
    assert rows[-1]["fvu"] < rows[0]["fvu"]


@pytest.mark.parametrize("architecture", SPARSITY)
@pytest.mark.parametrize("stop", [1, 37, 110])
def test_a_cut_run_ends_with_the_same_bits(
    architecture: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(architecture, dead_after=200, resample_every=20, resample_until=0.9)
    if architecture == "kl":
        config = small(architecture, revival="resample", dead_after=200, resample_every=20, resample_until=0.9)
    whole = run(config, tmp_path / "whole")
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "cut", progress=StopAt(stop))
    assert not (tmp_path / "cut" / "cfg.json").exists()
    cut = run(config, tmp_path / "cut")
    assert weights_sha256(cut) == weights_sha256(whole)
    assert pq.read_table(cut / "training.parquet").equals(pq.read_table(whole / "training.parquet"))


def test_the_seed_decides_the_bits(tmp_path: Path) -> None:
    hashes = [
        weights_sha256(run(small("topk", seed=s, steps=20), tmp_path / n))
        for n, s in zip("abc", [0, 0, 1], strict=True)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_finished_run_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    out = run(small("topk", steps=20), tmp_path / "run")
    before = (out / "sae.safetensors").stat().st_mtime_ns
    run(small("topk", steps=20), out)
    assert (out / "sae.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other settings or data"):
        run(small("topk", steps=20, seed=1), out)
    with pytest.raises(UserError, match="other settings or data"):
        train(digits(), small("topk", steps=20), out, description={**DESCRIPTION, "data_sha256": "1" * 64})


def test_a_default_spelt_out_is_the_same_run(tmp_path: Path) -> None:
    out = run(small("topk", steps=20), tmp_path / "run")
    lr = native.read_config(out)["training"]["config"]["lr"]
    run(small("topk", steps=20, lr=lr), out)


def test_foreign_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        run(small("topk"), tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="other files"):
        run(small("topk"), tmp_path / "folder")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["thesis.txt"]


def test_a_damaged_state_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(small("topk"), tmp_path / "run", progress=StopAt(5))
    state = tmp_path / "run" / "state" / "run.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(UserError, match="is damaged"):
        run(small("topk"), tmp_path / "run")


@pytest.mark.parametrize("missing", ["transform.mean", "adam.steps.0", "model.b_dec", "silent"])
def test_a_state_that_lacks_a_tensor_is_told(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(small("topk"), tmp_path / "run", progress=StopAt(5))
    state = tmp_path / "run" / "state" / "run.safetensors"
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: t for name, t in load_file(state).items() if name != missing}, state, metadata)
    with pytest.raises(CheckpointError, match="is damaged"):
        run(small("topk"), tmp_path / "run")


def test_a_state_of_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        run(small("topk"), tmp_path / "run", progress=StopAt(5))
    monkeypatch.setattr(run_folder, "STATE_VERSION", "another")
    with pytest.raises(UserError, match="written by another version"):
        run(small("topk"), tmp_path / "run")


def test_divergence_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged"):
        run(small("kl", lr=1e30, grad_clip=0.0), tmp_path / "run")


def test_unknown_devices_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown device 'gpuu'"):
        train(digits(), small("topk"), tmp_path / "run", description=DESCRIPTION, device="gpuu")


def test_empty_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no activations"):
        train(ArrayTable(np.zeros((0, 4))), small("topk"), tmp_path / "run", description=DESCRIPTION)


@pytest.fixture(params=["cached", "read per batch"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "cached":
        monkeypatch.setattr(data, "CACHE_VALUES", 0)
    return str(request.param)


def test_runs_of_a_sweep_end_as_alone(tmp_path: Path, memory: str) -> None:
    configs = [small("topk", k=2, steps=40), small("topk", k=9, steps=60), small("relu", steps=50, batch_size=32)]
    outs = [tmp_path / f"sweep-{i}" for i in range(3)]
    assert train_sweep(digits(), configs, outs, description=DESCRIPTION, device="cpu") == outs
    for i, config in enumerate(configs):
        alone = run(config, tmp_path / f"alone-{i}")
        assert weights_sha256(alone) == weights_sha256(outs[i])


def test_a_cut_sweep_ends_with_the_same_bits(tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "STATE_SECONDS", 0.0)
    configs = [small("topk", k=k, steps=40) for k in (2, 9)]
    outs = [tmp_path / f"sweep-{i}" for i in range(2)]
    with pytest.raises(Interrupted):
        train_sweep(digits(), configs, outs, description=DESCRIPTION, device="cpu", progress=StopAt(22))
    train_sweep(digits(), configs, outs, description=DESCRIPTION, device="cpu")
    for i, config in enumerate(configs):
        assert weights_sha256(run(config, tmp_path / f"alone-{i}")) == weights_sha256(outs[i])


def test_a_sweep_needs_a_folder_for_each_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different folders"):
        train_sweep(digits(), [small("topk")] * 2, [tmp_path / "a"] * 2, description=DESCRIPTION)


KILLED = """
import sys
from pathlib import Path
from tests.training.arrays import DESCRIPTION, digits
from saescope.training import TrainingConfig, train, trainer
trainer.STATE_SECONDS = 0.0
config = TrainingConfig("topk", n_features=96, k=6, steps=400, batch_size=64)
print("ready", flush=True)
train(digits(), config, Path(sys.argv[1]), description=DESCRIPTION, device="cpu")
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    roots = [str(root / name) for name in ("backend", "store", "dashboard")] + [str(root)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    rng = np.random.default_rng(0)
    out = tmp_path / "killed"
    kills = 0
    for _ in range(30):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], env=env, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.5)))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        code = process.wait()
        kills += code == -signal.SIGKILL
        if (out / "cfg.json").exists():
            load_sae(out)  # whatever carries a cfg.json is whole
        if code == 0 or kills == 6:
            break
    assert kills >= 3
    config = small("topk", steps=400)
    run(config, out)
    assert weights_sha256(out) == weights_sha256(run(config, tmp_path / "whole"))
    leftovers = [p.name for p in out.rglob("*") if ".tmp-" in p.name]
    assert leftovers == []


def test_one_thread_or_two_the_setting_is_restored(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(small("topk", steps=5), tmp_path / "run")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("held_out", [0.1, {"seed": 0}])
def test_a_rule_of_what_was_held_out_is_checked(tmp_path: Path, held_out: object) -> None:
    description = {"data_sha256": "0" * 64, "held_out": held_out}
    with pytest.raises(UserError, match="held_out of the description is") as caught:
        train(digits(), small("topk"), tmp_path / "run", description=description, device="cpu")
    assert '"held_out": ...' in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


def test_that_nothing_says_what_was_held_out_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="in-sample") as caught:
        train(digits(), small("topk", steps=3), tmp_path / "run", description={"data_sha256": "0" * 64}, device="cpu")
    assert caught[0].filename == __file__
