"""`saescope baseline`, and what the other commands make of what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saescope.checkpoints import load_sae
from tests.cli.conftest import Saescope

DIGITS = ("--images", "embedded:digits")


def test_a_baseline_goes_through_every_command(saescope: Saescope, tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "digits-pca"
    given = ("baseline", "pca", *DIGITS, "--n-components", 6, "--k", 2, "--out", out)
    done = saescope(*given, "--json")
    assert done.code == 0
    assert done.json.items() >= {"architecture": "pca", "n_features": 6, "n_fitted_rows": 1617}.items()
    again = saescope(*given)
    assert (again.code, again.out) == (0, f"{out} holds this pca already\n")
    assert saescope("build", out, *DIGITS, "--store", store).code == 0
    assert saescope("evaluate", out, *DIGITS, "--json").json["metrics"]["l0"] == 2
    assert saescope("verify", "--store", store).code == 0
    assert "pca" in saescope("ls", "--store", store).out
    assert saescope("show", "digits-pca", 0, "--store", store).code == 0
    exported = tmp_path / "exported"
    assert saescope("export", "digits-pca", "--store", store, "--format", "jsonl", "--out", exported).code == 0
    assert exported.exists()


@pytest.mark.parametrize(("name", "k"), [("pca", 3), ("ica", 3)])
def test_linear_baselines_are_abstopk_in_the_format_of_saelens(
    saescope: Saescope, tmp_path: Path, name: str, k: int
) -> None:
    out, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert saescope("baseline", name, *DIGITS, "--n-components", 6, "--k", k, "--out", out).code == 0
    assert saescope("convert", out, "--to", "saelens", "--out", theirs).code == 0
    assert json.loads((theirs / "cfg.json").read_text())["architecture"] == "abstopk"
    x = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    for ours, other in zip(load_sae(out)(x), load_sae(theirs)(x), strict=True):
        assert torch.equal(ours, other)


def test_other_baselines_cannot_be_said_in_the_format_of_saelens(saescope: Saescope, tmp_path: Path) -> None:
    out = tmp_path / "kmeans"
    assert saescope("baseline", "kmeans", *DIGITS, "--n-components", 6, "--out", out).code == 0
    done = saescope("convert", out, "--to", "saelens", "--out", tmp_path / "theirs")
    assert done.code == 2
    assert "SAELens has nothing that computes the same as this kmeans" in done.err
    assert saescope("convert", out, "--to", "native", "--out", tmp_path / "copy").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("svd", "--n-components", 4), "'svd' is not one of 'pca', 'omp'"),
        (("pca", "--n-components", 4, "--seed", 1), "--seed is an option of all but pca; pca has no use for it"),
        (("nmf", "--n-components", 4, "--epochs", 1), "--epochs is an option of omp, lars; nmf has no use for it"),
        (("pca", "--n-components", 65), "at most 64, the data's width"),
        (("omp", "--n-components", 4), "omp needs --k"),
        (("pca", "--n-components", 0), "n_components is 0"),
    ],
)
def test_mistakes_are_told(saescope: Saescope, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = saescope("baseline", *arguments, *DIGITS, "--out", tmp_path / "out")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_a_sweep_names_the_baselines_that_it_knows(saescope: Saescope, tmp_path: Path) -> None:
    training = ("--arch", "topk", "--n-features", 8, "--values", 2, "--store", tmp_path, "--name", "x")
    done = saescope("sweep", *DIGITS, *training, "--baselines", "pca,svd")
    assert done.code == 2
    assert "there is no baseline 'svd'" in done.err


def test_nmf_on_negative_data_is_refused(saescope: Saescope, tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32))
    given = ("--activations", tmp_path / "x.npy", "--n-components", 3)
    done = saescope("baseline", "nmf", *given, "--out", tmp_path / "out")
    assert done.code == 2
    assert "nmf needs data without negative values" in done.err


def test_a_second_capture_is_refused(saescope: Saescope, tmp_path: Path) -> None:
    import numpy as np

    clean = np.random.default_rng(0).random((60, 16, 16)).cumsum(2) / 16
    for seed, name in enumerate(("first", "second")):
        noise = np.random.default_rng(seed).normal(scale=0.1, size=clean.shape)
        np.save(tmp_path / f"{name}.npy", (clean + noise).astype(np.float32))
    pair = ("--images", tmp_path / "first.npy", "--pair", tmp_path / "second.npy")
    done = saescope("baseline", "pca", *pair, "--n-components", 3, "--out", tmp_path / "out")
    assert done.code == 2
    assert "pca is fitted on one capture alone" in done.err
    assert not (tmp_path / "out").exists()
