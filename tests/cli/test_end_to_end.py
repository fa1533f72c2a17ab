"""From pixels to a store by the command line alone, on small real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from saescope.store import FeatureStore
from tests.cli.conftest import Saescope
from tests.cli.test_mistakes import told

SOURCE = ("--images", "embedded:digits")
SMALL = ("--n-features", 32, "--steps", 60, "--batch-size", 64)


@pytest.mark.parametrize(
    "sparsity", [("topk", "--k", "4"), ("relu", "--l1", "0.5"), ("kl", "--rho", "0.05")], ids=lambda s: s[0]
)
def test_train_evaluate_and_build(saescope: Saescope, tmp_path: Path, sparsity: tuple[str, str, str]) -> None:
    architecture, *setting = sparsity
    out, store = tmp_path / "tiny", tmp_path / "store"
    trained = saescope("train", *SOURCE, "--arch", architecture, *SMALL, *setting, "--out", out, "--json")
    assert trained.code == 0, trained.err
    assert trained.json == {"checkpoint": str(out), "architecture": architecture, "n_features": 32}
    assert pq.read_table(out / "training.parquet").num_rows > 0

    evaluated = saescope("evaluate", out, *SOURCE, "--json")
    assert evaluated.code == 0, evaluated.err
    metrics = evaluated.json["metrics"]
    assert set(evaluated.json) == {"metrics", "n_positions"}
    assert 0 < evaluated.json["n_positions"] < 1797  # the items that training held out

    built = saescope("build", out, *SOURCE, "--store", store, "--json")
    assert built.code == 0, built.err
    entry = FeatureStore(store)["tiny"]
    assert built.json == {"sae_id": "tiny", "version": entry.version, "store": str(store)}
    assert entry.n_positions == 1797
    assert entry.manifest.n_metric_positions == evaluated.json["n_positions"]
    for name in ("l0", "mse", "fvu", "cosine", "n_dead"):
        np.testing.assert_allclose(entry.metrics[name], metrics[name], rtol=1e-6)
    assert saescope("verify", "--store", store).code == 0


def test_training_again_with_the_same_settings_changes_nothing_and_with_others_is_refused(
    saescope: Saescope, tmp_path: Path
) -> None:
    train = ("train", *SOURCE, "--arch", "topk", *SMALL, "--out", tmp_path / "out")
    assert saescope(*train, "--k", 4).code == 0
    weights = (tmp_path / "out" / "sae.safetensors").read_bytes()
    assert saescope(*train, "--k", 4).code == 0
    assert (tmp_path / "out" / "sae.safetensors").read_bytes() == weights
    told(saescope(*train, "--k", 5), "out")
    assert (tmp_path / "out" / "sae.safetensors").read_bytes() == weights


def test_a_sweep_builds_each_value_with_its_reference_and_is_not_done_twice(saescope: Saescope, tmp_path: Path) -> None:
    store = tmp_path / "store"
    sweep = ("sweep", *SOURCE, "--patch", 4, "--arch", "topk", *SMALL, "--store", store, "--name", "digits")
    first = saescope(*sweep, "--values", "2,4", "--json")
    assert first.code == 0, first.err
    assert [(e["sae_id"], e["reused"]) for e in first.json["entries"]] == [
        ("digits-topk-k2", False),
        ("digits-topk-k4", False),
    ]
    found = FeatureStore(store)
    (curve,) = found.sweeps()
    assert (curve.name, curve.parameter) == ("digits", "k")
    baselines = found["digits-topk-k2"].baselines()
    assert baselines is not None
    assert baselines["n_components"].to_pylist() == [1, 2, 4, 8, 16]

    settings = (found["digits-topk-k2"].manifest.sweep or {})["settings"]
    leftover = found.paths.training(f"digits-topk-k2-{settings[:16]}")
    leftover.mkdir(parents=True)  # as a run leaves it that was killed right after publishing
    again = saescope(*sweep, "--values", "2,4,8", "--json").json["entries"]
    assert [e["reused"] for e in again] == [True, True, False]
    assert [e["version"] for e in again[:2]] == [e["version"] for e in first.json["entries"]]
    assert list((store / ".training").iterdir()) == []

    other = saescope(*sweep, "--values", "2", "--seed", 1, "--json").json["entries"]
    assert [e["reused"] for e in other] == [False]
    assert other[0]["version"] != again[0]["version"]
    assert saescope("verify", "--store", store).code == 0


def test_names_of_entries_follow_architecture_and_value(saescope: Saescope, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for architecture, values in (("relu", "0.5,2"), ("kl", "0.05")):
        sweep = ("sweep", *SOURCE, "--arch", architecture, "--n-features", 16, "--steps", 20, "--name", "d")
        assert saescope(*sweep, "--values", values, "--store", store).code == 0
    assert FeatureStore(store).ids() == ["d-kl-rho-0.05", "d-relu-l1-0.5", "d-relu-l1-2"]


def test_a_build_without_splits_or_training_data_uses_all_positions(saescope: Saescope, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(200, 8)).astype(np.float32))
    train = (
        "train",
        "--activations",
        tmp_path / "a.npy",
        "--arch",
        "topk",
        *SMALL,
        "--k",
        2,
        "--out",
        tmp_path / "out",
    )
    assert saescope(*train).code == 0
    counts = {}
    for name in ("a", "b"):
        counts[name] = saescope("evaluate", tmp_path / "out", "--activations", tmp_path / f"{name}.npy", "--json").json
    assert counts["b"]["n_positions"] == 200
    assert 0 < counts["a"]["n_positions"] < 200


def test_a_transcoder_from_cached_activations(saescope: Saescope, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 12)).astype(np.float32)
    y = np.maximum(x @ rng.normal(size=(12, 30)), 0) @ rng.normal(size=(30, 7)) + x @ rng.normal(size=(12, 7)) + 4
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y.astype(np.float32))
    source = ("--activations", tmp_path / "x.npy", "--targets", tmp_path / "y.npy")
    out, store = tmp_path / "transcoder", tmp_path / "store"
    settings = ("--arch", "topk", "--k", 6, "--n-features", 64, "--steps", 600, "--batch-size", 128, "--skip")
    trained = saescope("train", *source, *settings, "--out", out)
    assert trained.code == 0, trained.err
    evaluated = saescope("evaluate", out, *source, "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["n_positions"] == 90
    assert evaluated.json["metrics"]["fvu"] < 0.4
    assert saescope("build", out, *source, "--store", store).code == 0
    manifest = FeatureStore(store)["transcoder"].manifest
    assert (manifest.d_in, manifest.d_out) == (12, 7)
    assert manifest.metrics["fvu"] == pytest.approx(evaluated.json["metrics"]["fvu"], rel=1e-6)
    assert saescope("verify", "--store", store).code == 0
    told(saescope("evaluate", out, *source[:2]), "no targets")


def test_sweeps_of_deep_transcoders_have_no_reference_that_rebuilds_the_input(
    saescope: Saescope, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(300, 6)).astype(np.float32))
    np.save(tmp_path / "y.npy", rng.normal(size=(300, 4)).astype(np.float32))
    source = ("--activations", tmp_path / "x.npy", "--targets", tmp_path / "y.npy")
    widths = ("--encoder-widths", "8,9", "--decoder-widths", 7)
    store = tmp_path / "store"
    swept = saescope(
        "sweep", *source, "--arch", "deep", *SMALL, *widths, "--values", "2,4", "--store", store, "--name", "d"
    )
    assert swept.code == 0, swept.err
    entry = FeatureStore(store)["d-deep-k4"]
    assert entry.baselines() is None
    assert entry.metrics["l0"] <= 4
    assert saescope("verify", "--store", store).code == 0
    shown = saescope("show", "d-deep-k4", 3, "--store", store)
    assert shown.code == 0, shown.err
    assert saescope("evaluate", store / "saes" / "d-deep-k4", *source).code == 2  # a store's folder is no checkpoint


@pytest.mark.parametrize("architecture", ["relu", "kl"])
def test_a_missed_target_is_told(saescope: Saescope, tmp_path: Path, architecture: str) -> None:
    short = (*SOURCE, "--arch", architecture, "--n-features", 32, "--steps", 3, "--batch-size", 64)
    trained = saescope("train", *short, "--target-l0", 2, "--out", tmp_path / "out")
    assert trained.code == 0
    assert "not the target, 2" in trained.err
    assert "more --steps" in trained.err
    swept = saescope(
        *("sweep", *short, "--values", "2", "--parameter", "target-l0", "--store", tmp_path / "s", "--name", "m")
    )
    assert swept.code == 0
    assert f"note: m-{architecture}-target-l0-2: its L0 is" in swept.err


def test_a_target_that_is_met_is_not_commented(saescope: Saescope, tmp_path: Path) -> None:
    done = saescope("train", *SOURCE, "--arch", "topk", *SMALL, "--target-l0", 4, "--out", tmp_path / "out")
    assert done.code == 0
    assert "note" not in done.err
    longer = (*SOURCE, "--arch", "relu", "--n-features", 64, "--steps", 1200, "--batch-size", 64)
    done = saescope("train", *longer, "--target-l0", 12, "--out", tmp_path / "relu")
    assert done.code == 0
    assert "note" not in done.err
