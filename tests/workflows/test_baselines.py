"""Classical dictionaries as checkpoints and entries, and as rows beside a sweep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from saescope.baselines.registry import METHODS, method
from saescope.checkpoints import load_sae
from saescope.sources import SourceOptions
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import OptionError, StorageError
from saescope.workflows import SweepPlan, baseline, build, evaluate, sweep
from saescope.workflows.divided_source import open_to_train

DIGITS = SourceOptions(images="embedded:digits")
SETTINGS = {
    "pca": {"n_components": 8, "k": 4},
    "omp": {"n_components": 12, "k": 2, "fit_rows": 200},
    "lars": {"n_components": 12, "k": 2, "fit_rows": 200},
    "nmf": {"n_components": 6, "fit_rows": 400},
    "ica": {"n_components": 6, "fit_rows": 400},
    "kmeans": {"n_components": 10, "fit_rows": 400},
    "random": {"n_components": 80, "k": 3},
    "neurons": {"k": 5},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("baselines")
    for name, settings in SETTINGS.items():
        baseline(name, DIGITS, method(name).settings(**settings), folder / name)
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_a_baseline_is_built_verified_and_evaluated_as_an_sae(name: str, checkpoints: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    built = build(checkpoints / name, DIGITS, store)
    assert built.sae_id == name
    with FeatureStore(store) as opened:
        entry = opened[name]
        manifest = entry.manifest
        assert manifest.architecture == manifest.config["training"]["config"]["architecture"] == name
        assert entry.has_atoms
        np.testing.assert_array_equal(entry.atoms(), load_sae(checkpoints / name).atoms.numpy())
        assert manifest.n_metric_positions < manifest.n_positions  # those that fitting did not see
        measured = evaluate(checkpoints / name, DIGITS).metrics
        for metric in ("l0", "mse", "fvu"):
            assert entry.metrics[metric] == pytest.approx(measured[metric], rel=1e-6)
        signed = name not in ("nmf", "kmeans")
        examples = entry.table("examples")["activation"].to_numpy()
        assert bool((examples < 0).any()) == signed
    assert verify(store) == []


def test_the_fit_sees_the_training_rows_alone(checkpoints: Path) -> None:
    data = open_to_train(DIGITS)
    rows = data.table.rows(np.arange(data.table.n_rows)).double().numpy()
    expected = PCA(8, svd_solver="full").fit(rows).components_
    atoms = load_sae(checkpoints / "pca").atoms.numpy()
    np.testing.assert_allclose(np.abs(atoms), np.abs(expected), atol=1e-5)


def test_the_same_fit_is_left_as_it_is_and_another_refused(checkpoints: Path, tmp_path: Path) -> None:
    kind = method("kmeans").settings
    out = tmp_path / "kmeans"
    first = baseline("kmeans", DIGITS, kind(**SETTINGS["kmeans"]), out)
    assert first.n_rows == 400
    for name in ("cfg.json", "sae.safetensors"):
        assert (out / name).read_bytes() == (checkpoints / "kmeans" / name).read_bytes()
    assert baseline("kmeans", DIGITS, kind(**SETTINGS["kmeans"]), out).n_rows == 0
    with pytest.raises(OptionError, match="other settings or data"):
        baseline("kmeans", DIGITS, kind(n_components=9), out)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").touch()
    with pytest.raises(StorageError, match="holds other files"):
        baseline("kmeans", DIGITS, kind(n_components=9), tmp_path / "own")


def test_a_sweep_draws_the_baselines_that_are_asked_for(tmp_path: Path) -> None:
    training = {"architecture": "topk", "n_features": 16, "steps": 20}
    plan = SweepPlan("digits", DIGITS, training, [2, 4], baselines=["pca", "neurons", "kmeans"])
    sweep(plan, tmp_path / "store")
    with FeatureStore(tmp_path / "store") as store:
        [found] = store.sweeps()
        table = found.baselines()
        assert table is not None
        assert set(table["name"].to_pylist()) == {"pca", "neurons", "kmeans"}
        assert {"n_atoms", "seconds", "note"} <= set(table.column_names)
        assert found.entries[0].baselines().equals(found.entries[1].baselines())
    assert verify(tmp_path / "store") == []
    assert all(entry.reused for entry in sweep(plan, tmp_path / "store"))


def test_settings_of_a_sweep_without_other_baselines_are_what_they_were(tmp_path: Path) -> None:
    """Entries of sweeps before are known again."""
    from saescope.training.data import data_size
    from saescope.workflows.sweep import _configs, _settings

    plan = SweepPlan("digits", DIGITS, {"architecture": "topk", "n_features": 16}, [2])
    other = SweepPlan("digits", DIGITS, {"architecture": "topk", "n_features": 16}, [2], baselines=["nmf"])
    data = open_to_train(DIGITS)
    [(_, _, config)] = _configs(plan)
    size = data_size(data.table, data.description, [config])
    keys = [_settings(each, config, size, data, data.source) for each in (plan, other)]
    assert keys[0] != keys[1]


def test_what_training_records_holds_no_time(checkpoints: Path) -> None:
    record = json.loads((checkpoints / "omp" / "cfg.json").read_text())["training"]
    assert record["config"] == {"architecture": "omp", "penalty": 1.2, "epochs": 5, "seed": 0, **SETTINGS["omp"]}
    assert "seconds" not in record
