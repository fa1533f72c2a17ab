"""The Anomalies page: of pictures and of a table, at the threshold of the address."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saescope.cli.run import run
from saescope.dashboard.views.anomalies import handles, rates
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from tests.dashboard.conftest import OpenPage, texts
from tests.dashboard.pages import components, tables

SOURCES = {
    "digits": (("--images", "embedded:digits"), "7"),
    "wine": (("--table", "embedded:wine"), "class_2"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of each."""
    folder = tmp_path_factory.mktemp("reports")
    small = ("--arch", "topk", "--n-features", 24, "--k", 4, "--steps", 80, "--batch-size", 64)
    for name, (source, anomaly) in SOURCES.items():
        published = (
            "--leave-out-seen",
            "--store",
            folder / "store",
            "--name",
            name,
            "--window",
            20,
            "--bootstrap",
            100,
        )
        for arguments in (
            ("train", *source, "--without-labels", anomaly, *small, "--out", folder / name),
            ("anomaly", "fit", folder / name, *source, "--anomaly", anomaly, "--out", folder / f"{name}-detector"),
            ("anomaly", "report", folder / f"{name}-detector", *source, *published),
        ):
            assert run([str(a) for a in arguments]) == 0
    return folder / "store"


def test_pictures(store: Path, open_page: OpenPage) -> None:
    page = open_page(store, "anomalies", report="digits")
    assert "digits · topk by reconstruction error" in texts(page)
    rows = components(page, "saescope_reconstruction_rows")[0]
    with FeatureStore(store) as opened:
        report = opened.anomaly("digits")
        first = next(row for row in report.table("examples").to_pylist() if row["kind"] == "most anomalous")
        auc = report.manifest.metrics["auc"]
    assert rows["rows"][0]["title"] == f"item {first['item_id']:,}"
    assert auc is not None
    assert f"{auc:.3f}" in [metric.value for metric in page.metric]


def test_a_table(store: Path, open_page: OpenPage) -> None:
    page = open_page(store, "anomalies", report="wine")
    worst, signals = tables(page)[:2]
    assert "rebuilt as" in worst["worst rebuilt"][0]
    assert set(signals["signal"]) == {"reconstruction error", "PCA", "isolation forest"}


def test_the_address_names_the_threshold(store: Path, open_page: OpenPage) -> None:
    with FeatureStore(store) as opened:
        report = opened.anomaly("digits")
        rows = report.table("histogram")
        offered = handles(np.append(rows["lower"].to_numpy(), rows["upper"].to_numpy()[-1:]), report.manifest.threshold)
        scores = report.table("scores").to_pylist()
    chosen = offered[len(offered) // 4]
    page = open_page(store, "anomalies", report="digits", threshold=f"{chosen:.10g}")
    judged = [row for row in scores if row["is_anomaly"] is not None]
    values, truth = np.array([r["score"] for r in judged]), np.array([r["is_anomaly"] for r in judged])
    detected, alarmed = rates(values, truth, chosen)
    shown = {metric.label: metric.value for metric in page.metric}
    assert float(shown["detected"].rstrip(" %")) == pytest.approx(100 * detected, abs=0.6)
    assert float(shown["false alarms"].rstrip(" %")) == pytest.approx(100 * alarmed, abs=0.6)


def test_thresholds_that_are_none_are_the_detectors(store: Path, open_page: OpenPage) -> None:
    for given in ("nan", "many"):
        texts(open_page(store, "anomalies", report="digits", threshold=given))
    assert handles(np.array([1.0, 2.0]), 1.5) == [1.0, 1.5, 2.0]


def test_no_report_and_another_name(digits_store: Path, store: Path, open_page: OpenPage) -> None:
    assert "holds no anomaly report yet" in texts(open_page(digits_store, "anomalies"))
    assert "no anomaly report" in texts(open_page(store, "anomalies", report="gone"))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("judgements", lambda table: table.slice(0, len(table) - 1), "table judgements lacks"),
        ("curves", lambda table: table.drop(["threshold"]), "table curves lacks threshold"),
        ("scores", None, "is damaged"),
    ],
)
def test_a_damaged_report_is_told(
    store: Path,
    open_page: OpenPage,
    tmp_path: Path,
    name: str,
    change: Callable[[pa.Table], pa.Table] | None,
    words: str,
) -> None:
    shutil.copytree(store, tmp_path / "store")
    file = tmp_path / "store" / "anomalies" / "digits" / f"{name}.parquet"
    if change is None:
        file.write_bytes(file.read_bytes()[:99])
    else:
        pq.write_table(change(pq.read_table(file)), file)
    assert words in texts(open_page(tmp_path / "store", "anomalies", report="digits"))
    assert verify(tmp_path / "store")
