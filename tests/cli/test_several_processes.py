"""Training by several processes from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saescope.checkpoints import load_sae
from tests.cli.conftest import Saescope
from tests.cli.test_mistakes import told
from tests.training.test_processes import together


def test_the_command_line_trains_by_two_and_reports_once(saescope: Saescope, tmp_path: Path) -> None:
    train_one = ["train", "--images", "embedded:digits", "--arch", "topk", "--n-features", "32", "--k", "4"]
    train_one += ["--steps", "30", "--batch-size", "64", "--device", "cpu"]
    done = together(["-m", "saescope.cli", *train_one, "--out", str(tmp_path / "two"), "--json"])
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["checkpoint"] == str(tmp_path / "two")
    assert saescope(*train_one, "--out", tmp_path / "one").code == 0
    one, two = load_sae(tmp_path / "one"), load_sae(tmp_path / "two")
    torch.testing.assert_close(one.atoms, two.atoms, rtol=1e-4, atol=1e-5)


def test_a_mistake_is_told_by_the_first_process_and_ends_the_others(tmp_path: Path) -> None:
    wrong = ["train", "--images", str(tmp_path / "nowhere"), "--arch", "topk", "--n-features", "32", "--k", "4"]
    done = together(["-m", "saescope.cli", *wrong, "--device", "cpu", "--out", str(tmp_path / "two")])
    assert done.returncode == 1
    assert done.stderr.count("nowhere: no such file or folder") == 1
    assert "the first process failed" in done.stderr
    assert "RuntimeError" not in done.stderr
    assert not (tmp_path / "two").exists()


def test_what_is_made_for_one_process_is_refused_to_several(
    saescope: Saescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    sweep = ("sweep", "--images", "embedded:digits", "--arch", "topk", "--n-features", 8, "--values", "2")
    told(saescope(*sweep, "--store", tmp_path / "s", "--name", "x"), "one process", "2 were started")
