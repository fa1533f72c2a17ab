"""Two processes on CPUs against one on the same data; and that a cut run of two goes on exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from saescope.autoencoders.objectives.processes import ALONE
from saescope.checkpoints import load_sae, weights_sha256
from saescope.checkpoints.formats import native
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train
from saescope.training.processes import own_device
from tests.training.arrays import DESCRIPTION, digits

ROOT = Path(__file__).parents[2]
RUNS: dict[str, dict[str, Any]] = {
    "topk": {"architecture": "topk", "k": 6},
    "topk few": {"architecture": "topk", "k": 2},
    "relu": {"architecture": "relu", "l1": 10.0},
    "tied": {"architecture": "relu", "l1": 3.0, "tied": True, "apply_b_dec_to_input": True},
    "kl": {"architecture": "kl", "rho": 0.05},
    "p-annealing": {"architecture": "relu", "l1": 3.0, "p_end": 0.5, "p_from": 0.2},
    "target": {"architecture": "relu", "target_l0": 8},
    "gated": {"architecture": "gated", "l1": 3.0},
    "jumprelu": {"architecture": "jumprelu", "l0_weight": 1.0},
    "batchtopk": {"architecture": "batchtopk", "k": 4},
    "matryoshka": {"architecture": "matryoshka", "k": 4},
    "groupmax": {"architecture": "groupmax", "k": 6},
    "deep": {"architecture": "deep", "k": 6},
    "deep rate": {"architecture": "deep", "rho": 0.05},
    "undercomplete": {"architecture": "undercomplete", "n_features": 8},
    "contractive": {"architecture": "contractive", "encoder_widths": ()},
}
"""Each with features that fall silent, so that they are revived."""
SHARED = {
    "n_features": 96,
    "steps": 60,
    "batch_size": 64,
    "dead_after": 100,
    "resample_every": 15,
    "adam_epsilon": 1e-6,
}
"""An epsilon above rounding: of pixels that hardly ever vary, gradients are no more than rounding, and with less Adam
would make full steps of them."""
CUT = ("relu", "target", "batchtopk")


def together(arguments: list[str], n: int = 2) -> subprocess.CompletedProcess[str]:
    """Arguments of Python, by `n` processes that torchrun starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def config_of(name: str) -> dict[str, Any]:
    config = {**SHARED, **RUNS[name]}
    if config["architecture"] in ("deep", "undercomplete", "contractive"):
        del config["resample_every"]
    return config


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every run made by two processes: whole, and for some also cut and gone on with."""
    folder = tmp_path_factory.mktemp("two")
    plan: list[dict[str, Any]] = [{"config": config_of(name), "out": str(folder / name)} for name in RUNS]
    for name in CUT:
        cut = {"config": config_of(name), "out": str(folder / f"{name} cut")}
        plan += [{**cut, "stop_at": 33}, cut]
    plan.append({"config": {**config_of("topk"), "batch_size": 63}, "out": str(folder / "odd")})
    (folder / "plan.json").write_text(json.dumps(plan))
    done = together(["-m", "tests.training.several", str(folder / "plan.json")])
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs, made by this process alone."""
    folder = tmp_path_factory.mktemp("one")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in RUNS:
        train(digits(), TrainingConfig(**config_of(name)), folder / name, description=DESCRIPTION, device="cpu")
    torch.set_num_threads(threads)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains(name: str, by_one: Path, by_two: Path) -> None:
    one, two = (pq.read_table(folder / name / "training.parquet") for folder in (by_one, by_two))
    assert one.column_names == two.column_names
    for column in one.column_names:
        np.testing.assert_allclose(one[column].to_numpy(), two[column].to_numpy(), rtol=1e-5, atol=1e-7)
    a, b = load_sae(by_one / name).tensors(), load_sae(by_two / name).tensors()
    for tensor in a:
        torch.testing.assert_close(a[tensor], b[tensor], rtol=1e-4, atol=1e-4 * float(a[tensor].abs().max()))
    recorded = [native.read_config(folder / name)["training"] for folder in (by_one, by_two)]
    assert [r.pop("processes") for r in recorded] == [1, 2]
    values = [r.get("reached", {}).pop("value", 0.0) for r in recorded]
    assert values[0] == pytest.approx(values[1], rel=1e-5)  # follows the loss, which is summed in another order
    assert recorded[0] == recorded[1]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_run_of_two_ends_with_the_same_bits(name: str, by_two: Path) -> None:
    assert weights_sha256(by_two / f"{name} cut") == weights_sha256(by_two / name)
    curves = [pq.read_table(by_two / run / "training.parquet") for run in (f"{name} cut", name)]
    assert curves[0].equals(curves[1])


def test_runs_revived_features(by_one: Path) -> None:
    """Otherwise nothing above would show that revival is the same in all processes."""
    for name in ("topk few", "relu"):
        dead = pq.read_table(by_one / name / "training.parquet")["dead_fraction"].to_numpy()
        assert dead.max() > 0


def test_a_batch_that_cannot_be_divided_is_refused_by_all(by_two: Path) -> None:
    for rank in (0, 1):
        assert "a batch of 63 positions cannot be divided evenly among 2" in (by_two / f"odd-{rank}.txt").read_text()


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device("cpu", 3) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [own_device(name, rank) for name in ("auto", "cuda") for rank in (0, 1)] == ["cuda:0", "cuda:1"] * 2
    with pytest.raises(UserError, match="names one GPU"):
        own_device("cuda:1", 0)
    with pytest.raises(UserError, match="there are 2"):
        own_device("cuda", 2)


def test_alone_everything_is_given_back() -> None:
    x = torch.arange(4.0, requires_grad=True)
    assert ALONE.mean(x) is x
    assert torch.equal(ALONE.gathered(x), x.detach())
    assert torch.equal(ALONE.smallest(x), x.detach())
    assert ALONE.part(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
