"""Detectors from fit to report: what is fitted on what, what is refused, and what is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score

from saescope.anomalies.detector import Detector
from saescope.anomalies.options import FitOptions, ReportOptions
from saescope.checkpoints import load_sae
from saescope.cli.run import run
from saescope.cli.verify import command as verify_command
from saescope.sources import SourceOptions, held_out, open_source
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.errors import UserError
from saescope.workflows.anomalies import fit_anomalies, report_anomalies, score_anomalies
from tests.sources.told import Told

QUIET: Any = lambda text: None  # noqa: E731


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`digits.parquet` with a split of its own, and `sae`, trained on its training rows without the ones."""
    folder = tmp_path_factory.mktemp("anomalies")
    digits = load_digits()
    split = np.where(np.random.default_rng(0).random(len(digits.data)) < 0.6, "train", "test")
    columns = {f"p{i}": digits.data[:, i] for i in range(64)}
    table = pa.table({**columns, "label": digits.target, "split": split, "when": np.arange(len(split))[::-1].copy()})
    pq.write_table(table, folder / "digits.parquet")
    given = ("--table", folder / "digits.parquet", "--metadata-columns", "when")
    small = ("--arch", "topk", "--n-features", 48, "--k", 6, "--steps", 150, "--batch-size", 128)
    assert run([str(a) for a in ("train", *given, "--without-labels", 1, *small, "--out", folder / "sae")]) == 0
    return folder


def digits(work: Path, **options: object) -> Any:
    return SourceOptions(table=str(work / "digits.parquet"), metadata_columns="when", **options)


@pytest.fixture(scope="module")
def detector(work: Path) -> Path:
    fitting = FitOptions(anomaly="1", score="standardised", labelled=8)
    fit_anomalies(work / "sae", digits(work), work / "ones", fitting, note=QUIET)
    return work / "ones"


def test_a_report_is_what_scikit_learn_says(work: Path, detector: Path) -> None:
    score_anomalies(detector, digits(work), work / "scores.csv")
    found = report_anomalies(detector, digits(work), ReportOptions(bootstrap=100))
    scores = pa.csv.read_csv(work / "scores.csv").to_pydict()
    truth = np.array(scores["label"]) == 1
    assert found.metrics["auc"] == pytest.approx(roc_auc_score(truth, scores["score"]))
    assert found.metrics["average_precision"] == pytest.approx(average_precision_score(truth, scores["score"]))
    assert found.metrics["detection_rate"] == np.mean(np.array(scores["flagged"])[truth])
    assert found.metrics["false_alarm_rate"] == np.mean(np.array(scores["flagged"])[~truth])
    assert set(found.judged.metrics) == {
        "error", "pca", "isolation_forest", "classifier", "classifier_inputs", "combined"
    }  # fmt: skip
    assert found.judged.metrics["classifier_inputs"]["auc"] > 0.8


def test_everything_is_fitted_on_normal_training_items(work: Path, detector: Path) -> None:
    loaded = Detector.load(detector)
    source = open_source(digits(work, columns_from=str(work / "sae")), "train")
    rows = source.table().rows(np.arange(source.n_items))
    normal = np.array(source.metadata()["label"].to_pylist()) != "1"
    assert loaded.about.n_fitted == int(normal.sum())
    assert loaded.about.calibrated_on.startswith("the same normal items")
    residuals = (load_sae(work / "sae")(rows).reconstruction - rows).numpy().astype(np.float64)[normal]
    np.testing.assert_allclose(loaded.distance.mean, residuals.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert loaded.about.thresholds["error"] == pytest.approx(np.percentile(loaded.calibration["error"], 99))
    np.testing.assert_allclose(
        loaded.calibration["error"], np.sort(loaded.distance.of(residuals.astype(np.float32))), rtol=1e-4
    )


def test_what_leaks_is_refused(work: Path, detector: Path) -> None:
    with pytest.raises(UserError, match="fit is given split 'test'"):
        fit_anomalies(work / "sae", digits(work, split="test"), work / "no", FitOptions(anomaly="1"), note=QUIET)
    with pytest.raises(UserError, match="fit is given split 'all'"):
        fit_anomalies(work / "sae", digits(work, split="all"), work / "no", FitOptions(anomaly="1"), note=QUIET)
    with pytest.raises(UserError, match=r"items would be judged .* this is the data that the detector was fitted on"):
        report_anomalies(detector, digits(work, split="train"), note=QUIET)
    with pytest.raises(UserError, match=r"items would be judged .* the detector was fitted on some of it"):
        report_anomalies(detector, digits(work, split="all"), note=QUIET)
    told: list[str] = []
    some = report_anomalies(detector, digits(work, split="all"), ReportOptions(leave_out_seen=True), note=told.append)
    assert some.judged.n_left_out > 900
    assert "were fitted on and are left out" in told[0]
    assert not (work / "no").exists()


def test_rows_that_reappear_in_another_file_are_found(work: Path, detector: Path) -> None:
    table = pq.read_table(work / "digits.parquet")
    train = table.filter(pa.compute.equal(table["split"], "train"))
    train = train.filter(pa.compute.not_equal(train["label"], 1)).slice(0, 30)
    test = table.filter(pa.compute.equal(table["split"], "test"))
    pq.write_table(pa.concat_tables([test, train]).drop(["split"]), work / "mixed.parquet")
    mixed: Any = SourceOptions(table=str(work / "mixed.parquet"))
    with pytest.raises(UserError, match="was fitted on some of it"):
        report_anomalies(detector, mixed, note=QUIET)
    left = report_anomalies(detector, mixed, ReportOptions(leave_out_seen=True, bootstrap=100), note=QUIET)
    alone = report_anomalies(detector, digits(work), ReportOptions(bootstrap=100))
    assert left.metrics == alone.metrics


def test_data_without_splits_is_judged_by_what_nothing_was_fitted_on(tmp_path: Path) -> None:
    small = ("--arch", "topk", "--n-features", 16, "--k", 3, "--steps", 60, "--batch-size", 64)
    wine = ("--table", "embedded:wine")
    arguments = ("train", *wine, "--only-labels", "class_0,class_1", *small, "--out", tmp_path / "sae")
    assert run([str(a) for a in arguments]) == 0
    source: Any = SourceOptions(table="embedded:wine")
    fit_anomalies(
        tmp_path / "sae", source, tmp_path / "det", FitOptions(anomaly="class_2", references=False), note=QUIET
    )
    with pytest.raises(UserError, match="--leave-out-seen"):
        report_anomalies(tmp_path / "det", source, note=QUIET)
    found = report_anomalies(tmp_path / "det", source, ReportOptions(leave_out_seen=True), note=QUIET)
    assert int((found.judged.counted & found.judged.truth).sum()) == 48
    normal = open_source(SourceOptions(table="embedded:wine", only_labels="class_0,class_1"))
    assert int((found.judged.counted & ~found.judged.truth).sum()) == int(held_out(normal.n_items).sum())
    places = np.flatnonzero(np.isin(open_source(source).metadata()["label"].to_pylist(), ["class_0", "class_1"]))
    judged = found.judged.counted & ~found.judged.truth
    np.testing.assert_array_equal(np.flatnonzero(judged), places[held_out(normal.n_items)])  # none was trained on
    assert set(found.judged.metrics) == {"error"}


def test_anomalies_that_the_autoencoder_was_trained_on_are_told(work: Path) -> None:
    given = ("--table", work / "digits.parquet", "--metadata-columns", "when")
    small = ("--arch", "topk", "--n-features", 16, "--k", 3, "--steps", 5, "--batch-size", 64)
    assert run([str(a) for a in ("train", *given, *small, "--out", work / "sae-of-all")]) == 0
    told: list[str] = []
    options = FitOptions(anomaly="1", references=False, score="mse")
    fit_anomalies(work / "sae-of-all", digits(work), work / "told", options, note=told.append)
    assert any("labelled anomalies too" in text for text in told)
    fit_anomalies(work / "sae", digits(work), work / "told-2", FitOptions(references=False), note=told.append)
    assert any("all 1," in text and "count as normal" in text for text in told)
    with pytest.raises(UserError, match="no label is named"):
        report_anomalies(work / "told-2", digits(work), note=QUIET)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"normal": "1,2", "anomaly": "2"}, "2 is named both normal and an anomaly"),
        ({"normal": "x"}, "no item has the label 'x'"),
        ({"normal": "1,"}, "separated by commas"),
        ({"threshold": "f1"}, "needs labelled anomalies"),
        ({"labelled": 5}, "none of the training data is labelled"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"threshold": "percentile:101"}, "expected a number between 0 and 100"),
        ({"threshold": "mean"}, "the threshold is 'mean'"),
        ({"score": "cosine"}, "score is 'cosine'"),
        ({"anomaly": "0,1,2,3,4,5,6,7,8,9"}, "0 normal items to fit on"),
    ],
)
def test_what_fit_refuses(work: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        fit_anomalies(work / "sae", digits(work), work / "refused", FitOptions(**options), note=QUIET)
    assert not (work / "refused").exists()


def test_what_fit_assumes_of_labels_is_told(work: Path) -> None:
    told: list[str] = []
    few = FitOptions(anomaly="1", normal="0,2", labelled=1000, references=False)
    fit_anomalies(work / "sae", digits(work), work / "assumed", few, note=told.append)
    assert any("items are neither normal nor anomalies" in text for text in told)
    assert any("not 1,000 of each: there are no more" in text for text in told)
    about = Detector.load(work / "assumed").about
    assert 20 < about.n_labelled < 200
    named = FitOptions(anomaly="1,one", references=False)
    fit_anomalies(work / "sae", digits(work), work / "assumed-2", named, note=told.append)
    assert told[-2].startswith("no item has the label 'one'")


def test_what_report_and_score_refuse(work: Path, detector: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="items are all anomalies"):
        report_anomalies(detector, digits(work, only_labels="1"), note=QUIET)
    with pytest.raises(UserError, match="no item has the label '1'"):
        report_anomalies(detector, digits(work, without_labels="1"), note=QUIET)
    with pytest.raises(UserError, match="no column 'day' of times"):
        report_anomalies(detector, digits(work), ReportOptions(time_column="day"), note=QUIET)
    with pytest.raises(UserError, match="bootstrap is 1000000000"):
        ReportOptions(bootstrap=10**9)
    with pytest.raises(UserError, match="both a store and a name"):
        report_anomalies(detector, digits(work), store=tmp_path, note=QUIET)
    with pytest.raises(UserError, match=r"ends in \.parquet or \.csv"):
        score_anomalies(detector, digits(work), tmp_path / "scores.txt")
    with pytest.raises(UserError, match="lacks columns of the training"):
        score_anomalies(detector, SourceOptions(table="embedded:wine"), tmp_path / "scores.csv")
    with pytest.raises(UserError, match="exists already"):
        fit_anomalies(work / "sae", digits(work), detector, note=QUIET)
    shutil.copytree(detector, tmp_path / "changed")
    (tmp_path / "changed" / "detector.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="not the file that was written with it"):
        Detector.load(tmp_path / "changed")
    with pytest.raises(UserError, match="no detector can be read"):
        Detector.load(tmp_path)
    with pytest.raises(UserError, match="its tensors differ"):
        score_anomalies(detector, digits(work), tmp_path / "s.csv", checkpoint=_other(work, tmp_path))


def _other(work: Path, folder: Path) -> Path:
    from saescope.checkpoints.formats import native

    sae = load_sae(work / "sae")
    sae.tensors()["b_dec"].add_(1.0)
    native.save(sae, folder / "other")
    return folder / "other"


def test_a_joint_score_and_f1(work: Path) -> None:
    options = FitOptions(anomaly="1", code_components=3, threshold="f1", references=False, positions="max")
    fit_anomalies(work / "sae", digits(work), work / "joint", options, note=QUIET)
    again = Detector.load(work / "joint")
    assert again.about.main == "joint"
    found = report_anomalies(work / "joint", digits(work), ReportOptions(bootstrap=100))
    assert 0 < found.metrics["false_alarm_rate"] < 1
    assert set(found.judged.metrics) == {"error", "joint"}


def test_a_published_report(work: Path, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, told = tmp_path / "store", Told()
    options = ReportOptions(bootstrap=100, window=40, time_column="when")
    found = report_anomalies(detector, digits(work), options, store=store, name="ones", progress=told)
    with FeatureStore(store) as opened:
        assert opened.anomaly_names() == ["ones"]
        report = opened.anomaly("ones")
        assert report.manifest.metrics["auc"] == found.metrics["auc"]
        scores, curve = report.table("scores"), report.curve("roc")
        assert scores["is_anomaly"].to_pylist().count(True) == report.manifest.n_anomalous
        assert (curve["x"][0].as_py(), curve["y"][-1].as_py()) == (0.0, 1.0)
        examples = report.table("examples").to_pylist()
        most = [row for row in examples if row["kind"] == "most anomalous"]
        assert most[0]["score"] == max(scores["score"].to_pylist())
        assert len(most[0]["input"]) == report.manifest.source["d_in"]
        assert sum(most[0]["contributions"]) == pytest.approx(most[0]["score"], rel=1e-4)
        items = report.table("drift")["item_id"].to_pylist()
        assert items == sorted(items, reverse=True)  # in the order of `when`
        with pytest.raises(UserError, match="no anomaly report 'twos'"):
            opened.anomaly("twos")
    assert verify(store) == []
    printed = CliRunner().invoke(verify_command, ["--store", str(store)]).output
    assert printed == "no fault in 0 entries and 1 report on anomalies\n"
    made = report.manifest.created_at
    report_anomalies(detector, digits(work), options, store=store, name="ones")  # the same again: nothing is made
    with FeatureStore(store) as opened:
        assert opened.anomaly("ones").manifest.created_at == made
    with pytest.raises(UserError, match="another report 'ones' already"):
        report_anomalies(detector, digits(work), ReportOptions(bootstrap=101), store=store, name="ones")

    class Cut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise Cut

    monkeypatch.setattr("saescope.store.write.anomalies.hash_file", cut)
    with pytest.raises(Cut):
        report_anomalies(detector, digits(work), options, store=store, name="cut")
    assert verify(store) == []
    with FeatureStore(store) as opened:
        assert opened.anomaly_names() == ["ones"]


def test_faults_of_a_report_are_found(work: Path, detector: Path, tmp_path: Path) -> None:
    options = ReportOptions(bootstrap=100)
    folder = report_anomalies(detector, digits(work), options, store=tmp_path, name="ones").published
    assert folder is not None
    manifest = folder / "manifest.json"
    whole = json.loads(manifest.read_text())
    for change, says in (
        ({"n_normal": 3}, "the manifest says 3"),
        ({"threshold": 1e9}, "flagged otherwise than the threshold"),
        ({"metrics": {**whole["metrics"], "auc": 0.1}}, "the manifest says 0.1"),
        ({"signals": ["error", "gone"]}, "lacks the scores of gone"),
        ({"name": "twos"}, "name is 'twos'"),
        ({"n_anomalous": "many"}, "n_anomalous is 'many'"),
    ):
        manifest.chmod(0o644)
        manifest.write_text(json.dumps({**whole, **change}))
        assert any(says in fault.problem for fault in verify(tmp_path)), says
    manifest.write_text(json.dumps(whole))
    assert verify(tmp_path) == []
    (folder / "curves.parquet").chmod(0o644)
    (folder / "curves.parquet").write_bytes(b"x")
    (folder / "extra").write_text("x")
    problems = [fault.problem for fault in verify(tmp_path)]
    assert any("sha256" in problem for problem in problems)
    assert any("extra file" in problem for problem in problems)


def test_the_commands(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--table", work / "digits.parquet", "--metadata-columns", "when")
    fit = ("anomaly", "fit", work / "sae", *given, "--anomaly", "1", "--out", tmp_path / "det", "--no-references")
    assert run([str(a) for a in fit]) == 0
    score = ("anomaly", "score", tmp_path / "det", *given, "--out", tmp_path / "s.parquet", "--json")
    assert run([str(a) for a in score]) == 0
    capsys.readouterr()
    report = ("anomaly", "report", tmp_path / "det", *given, "--bootstrap", "100")
    assert run([str(a) for a in (*report, "--json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"auc", "average_precision", "threshold", "detection_rate", "false_alarm_rate"} <= set(found)
    assert run([str(a) for a in report]) == 0
    assert "reconstruction error (the score)" in capsys.readouterr().out
    assert run([str(a) for a in (*report, "--split", "train")]) == 2
    assert "--leave-out-seen" in capsys.readouterr().err
