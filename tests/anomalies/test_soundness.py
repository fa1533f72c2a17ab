"""Detectors that were changed by hand: every part is held against the autoencoder and against the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from saescope.anomalies.options import FitOptions, ReportOptions
from saescope.cli.run import run
from saescope.sources import SourceOptions
from saescope.store.errors import DataError
from saescope.store.format.hashing import file_sha256
from saescope.workflows.anomalies import fit_anomalies, report_anomalies

TABLE = "embedded:wine"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with every part there is."""
    folder = tmp_path_factory.mktemp("soundness")
    small = ("--arch", "undercomplete", "--n-features", "3", "--steps", "40", "--batch-size", "64")
    assert run(["train", "--table", TABLE, *small, "--out", str(folder / "sae")]) == 0
    options = FitOptions(anomaly="class_2", labelled=5, code_components=2, score="whitened")
    fit_anomalies(folder / "sae", SourceOptions(table=TABLE), folder / "detector", options, note=lambda _: None)
    return folder / "detector"


def report(detector: Path) -> None:
    options = ReportOptions(bootstrap=100, leave_out_seen=True)
    report_anomalies(detector, SourceOptions(table=TABLE), options, note=lambda _: None)


def test_what_fit_wrote_is_sound(fitted: Path) -> None:
    report(fitted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"main": "error"}, "main is 'error', expected 'joint'"),
        ({"thresholds": {}}, "thresholds lack classifier"),
        ({"positions": "median"}, "positions is 'median'"),
        ({"score": "mse"}, "distance.root"),
        ({"standard": {"joint": [0.0, 0.0]}}, "standard.joint"),
        ({"held_out": {"seed": 0}}, "held_out"),
        ({"anomaly": []}, "anomaly is"),
        ({"n_fitted": -1}, "n_fitted is -1"),
        ({"threshold_rule": "percentile:50"}, "the threshold of error"),
        ({"threshold_rule": "often"}, "the threshold is 'often'"),
    ],
)
def test_a_changed_record_is_told(fitted: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    other = tmp_path / "changed"
    shutil.copytree(fitted, other)
    content = json.loads((other / "detector.json").read_text())
    (other / "detector.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=words):
        report(other)


def without(*names: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda arrays: {name: values for name, values in arrays.items() if name not in names}


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    return lambda arrays: {**arrays, name: np.ascontiguousarray(change(arrays[name]))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("fitted"), "lacks fitted"),
        (without("forest.feature"), "what a forest is made of"),
        (without("calibration.pca"), "calibration scores lack pca"),
        (changed("distance.mean", lambda a: a[:2]), "distance.mean has shape"),
        (changed("mixture.means", lambda a: a * np.nan), "mixture.means holds numbers that are not finite"),
        (changed("components.axes", lambda a: a[:, :2]), "components.axes has shape"),
        (changed("classifier.weights", lambda a: a[:1]), "classifier.weights has shape"),
        (changed("forest.feature", lambda a: a + 1000), "the forest's trees are none"),
        (changed("forest.left", lambda a: np.minimum(a, 0)), "the forest's trees are none"),
        (changed("forest.starts", lambda a: a[::-1]), "do not follow one another"),
        (changed("forest.depth", lambda a: a[:-1]), "of several lengths"),
    ],
)
def test_changed_arrays_are_told(fitted: Path, tmp_path: Path, change: Any, words: str) -> None:
    other = tmp_path / "changed"
    shutil.copytree(fitted, other)
    arrays = other / "detector.safetensors"
    save_file(change(load_file(arrays)), arrays)
    content = json.loads((other / "detector.json").read_text())
    (other / "detector.json").write_text(json.dumps({**content, "arrays_sha256": file_sha256(arrays)}))
    with pytest.raises(DataError, match=words):
        report(other)


def test_arrays_that_are_cut_are_told(fitted: Path, tmp_path: Path) -> None:
    other = tmp_path / "changed"
    shutil.copytree(fitted, other)
    arrays = other / "detector.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:100])
    content = json.loads((other / "detector.json").read_text())
    (other / "detector.json").write_text(json.dumps({**content, "arrays_sha256": file_sha256(arrays)}))
    with pytest.raises(DataError, match="cannot be read"):
        report(other)
