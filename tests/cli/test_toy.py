"""A toy source by the command line: trained on, judged, and built into a store whose pages work."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.store import FeatureStore
from tests.cli.conftest import Saescope
from tests.cli.test_mistakes import told
from tests.dashboard.pages import run_page

TOY = ("--toy", "24x12:p=0.05,items=6000")


@pytest.fixture
def entry(saescope: Saescope, tmp_path: Path) -> Path:
    """A store with one small SAE, trained for long enough to find most of the true features."""
    steps = ("--n-features", 24, "--steps", 1500, "--batch-size", 128)
    trained = saescope("train", *TOY, "--arch", "topk", "--k", 2, *steps, "--out", tmp_path / "toy")
    assert trained.code == 0, trained.err
    built = saescope("build", tmp_path / "toy", *TOY, "--store", tmp_path / "store")
    assert built.code == 0, built.err
    return tmp_path / "store"


def test_a_built_entry_names_true_features_and_its_pages_work(entry: Path, saescope: Saescope) -> None:
    with FeatureStore(entry) as store:
        built = store["toy"]
        assert built.manifest.source["kind"] == "toy"
        assert built.n_positions == 6000
        labels = [label for label in built.table("features")["auto_label"].to_pylist() if label]
    assert len(labels) > 12
    assert all("true feature" in label for label in labels)
    assert saescope("verify", "--store", entry).code == 0
    for page in ("library", "sparsity", "features", "feature", "health", "atoms", "reconstructions", "probe"):
        run_page(page, entry, sae="toy")


def test_evaluating_tells_how_much_of_the_true_dictionary_was_found(
    entry: Path, saescope: Saescope, tmp_path: Path
) -> None:
    evaluated = saescope(
        "evaluate", tmp_path / "toy", *TOY, "--against", tmp_path / "toy", "--probe", "label", "--json"
    )
    assert evaluated.code == 0, evaluated.err
    assert set(evaluated.json) == {"metrics", "n_positions"}
    metrics = evaluated.json["metrics"]
    assert metrics["mmcs_true_to_learned"] > 0.9
    assert metrics["n_true_matched"] + metrics["n_true_unmatched"] == 24
    assert metrics["mmcs_to_other"] == pytest.approx(1) == metrics["mmcs_from_other"]
    assert metrics["n_matched_with_other"] == 24
    assert metrics["probe_auc_k1.label"] > 0.8
    shown = saescope("evaluate", tmp_path / "toy", *TOY, "--probe", "label")
    assert "probe_auc_k16.label" in shown.out
    assert "area under the ROC curve" in shown.out
    told(saescope("evaluate", tmp_path / "toy", *TOY, "--probe", "colour"), "colour", "label")


def test_mistakes_are_told(saescope: Saescope, tmp_path: Path) -> None:
    wide = ("train", "--arch", "topk", "--n-features", 8, "--k", 1, "--out", tmp_path / "x")
    told(saescope(*wide, "--toy", "24by12"), "24by12", "256x64:p=0.02")
    told(saescope(*wide, *TOY, "--patch", 4), "patch", "toy")
    assert list(tmp_path.iterdir()) == []
