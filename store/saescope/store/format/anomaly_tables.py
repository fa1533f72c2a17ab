"""The tables of a published anomaly report, and its manifest.

A report is a folder STORE/anomalies/<name>/ that never changes once it is there: manifest.json, and a Parquet file per
table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from saescope.store.errors import StoreError, StoreFaults
from saescope.store.format.fields import Count, field_faults, nested_faults, parse_object
from saescope.store.format.manifest import FileRecord, json_ready
from saescope.store.format.schema import Column, Table
from saescope.store.format.source import SourceDescription, read_source, source_faults

REPORT_FORMAT, REPORT_VERSION = "saescope-anomalies", 1
SIGNALS = {
    "error": "reconstruction error",
    "joint": "density of code and error",
    "pca": "PCA",
    "isolation_forest": "isolation forest",
    "classifier": "classifier on codes",
    "classifier_inputs": "classifier on inputs",
    "combined": "error and classifier together",
}
"""What may be judged -> what it is called."""
CURVES = ("precision_recall", "roc")
"""What `kind` of table `curves` may be."""
KINDS = ("false alarm", "missed", "most anomalous")
"""What `kind` of table `examples` may be."""

_i32, _i64, _f32, _f64, _text = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()

ANOMALY_TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table(
            "scores",
            (
                Column("item_id", _i64, "index of the item in the source's order"),
                Column("label", _text, "the item's label; null if it has none", True),
                Column("split", _text, "split of the data that it is of; null where there are none", True),
                Column(
                    "is_anomaly",
                    pa.bool_(),
                    "whether its label is one of an anomaly; null where it is not judged",
                    True,
                ),
                Column("flagged", pa.bool_(), "whether the score is above the threshold; null without a score", True),
                Column("score", _f64, "the detector's score; null where no position of the item counts", True),
            ),
            ("item_id",),
            required=True,
            open=True,
        ),
        Table(
            "judgements",
            (
                Column("signal", _text, "error, joint, pca, ...: what was judged"),
                Column("metric", _text, "auc, average_precision, detection_rate or false_alarm_rate"),
                Column("value", _f64, "over the judged items"),
                Column("low", _f64, "lower end of the bootstrap interval at 95 %"),
                Column("high", _f64, "upper end"),
                Column("threshold", _f64, "the signal's threshold"),
            ),
            ("signal", "metric"),
            required=True,
        ),
        Table(
            "curves",
            (
                Column("signal", _text, "what was judged"),
                Column("kind", _text, "roc or precision_recall"),
                Column("point", _i32, "from the highest threshold to the lowest, from 0"),
                Column("x", _f64, "roc: false-alarm rate; precision_recall: recall"),
                Column("y", _f64, "roc: detection rate; precision_recall: precision"),
                Column("threshold", _f64, "items of this score or more are flagged; null where none is", True),
            ),
            ("signal", "kind", "point"),
            required=True,
        ),
        Table(
            "histogram",
            (
                Column("bin", _i32, "from the lowest scores to the highest, from 0"),
                Column("lower", _f64, "least score of the bin"),
                Column("upper", _f64, "upper edge: in the last bin it is one of its scores, else of the next"),
                Column("n_normal", _i64, "judged normal items"),
                Column("n_anomalous", _i64, "judged anomalies"),
                Column("n_fitted", _i64, "normal training items that the threshold was chosen by"),
            ),
            ("bin",),
            required=True,
        ),
        Table(
            "examples",
            (
                Column("kind", _text, "most anomalous, missed (anomalies with the lowest scores) or false alarm"),
                Column("rank", _i32, "within the kind, from 0"),
                Column("item_id", _i64, "index of the item in the source's order"),
                Column("score", _f64, "the detector's score"),
                Column("is_anomaly", pa.bool_(), "by its label; null where it is not judged", True),
                Column("position", _i32, "of the item's positions the one with the largest error"),
                Column("input", pa.list_(_f32), "activations at that position"),
                Column("reconstruction", pa.list_(_f32), "what the autoencoder makes of them"),
                Column("contributions", pa.list_(_f32), "what each dimension adds to the error's score there"),
            ),
            ("kind", "rank"),
            required=True,
            open=True,
        ),
        Table(
            "drift",
            (
                Column("end", _i64, "index of the window's last item in the order of time, from 0"),
                Column("item_id", _i64, "that item"),
                Column("time", _text, "its time; null where items have none", True),
                Column("mean", _f64, "mean score of the window"),
                Column("median", _f64, "median"),
                Column("upper", _f64, "95th percentile"),
            ),
            ("end",),
        ),
    )
}
"""The tables of a report. `scores` has further columns with the score of each signal, `examples` those of the items."""


def report_schema(name: str) -> pa.Schema:
    """The columns that a table has at least."""
    return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in ANOMALY_TABLES[name].columns])


@dataclass(frozen=True)
class ReportManifest:
    """What `manifest.json` of a report holds."""

    name: str
    """Name of the report."""
    created_at: str
    """When it was made: ISO 8601, UTC."""
    saescope_version: str
    architecture: str
    """Of the autoencoder."""
    weights_sha256: str | None
    """Of the autoencoder's sae.safetensors, where it is native: entries with these weights show its features."""
    detector: dict[str, Any]
    """What detector.json holds."""
    source: dict[str, Any]
    """The data that was judged, as `format.source` describes it."""
    signal: str
    """Which signal the score is."""
    signals: list[str]
    """All that were judged."""
    threshold: float
    """Of the score."""
    n_normal: Count
    """Judged normal items."""
    n_anomalous: Count
    """Judged anomalies."""
    n_left_out: Count
    """Labelled items that were fitted on, and so are not judged."""
    metrics: dict[str, float | None]
    """auc, average_precision, detection_rate and false_alarm_rate of the score."""
    config: dict[str, Any] = field(default_factory=dict)
    """Every option of the report."""
    drift: dict[str, Any] | None = None
    """window, limit, rule and refit_from (index in the order of time, or null); null where there are fewer items."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File name -> sha256 and bytes."""
    key: str = ""
    """Hash of everything that decided the result."""

    @property
    def described(self) -> SourceDescription:
        """`source`, typed."""
        return read_source(self.source)

    def to_json(self) -> str:
        """The text of manifest.json."""
        content = {"format": REPORT_FORMAT, "format_version": REPORT_VERSION}
        content |= {f.name: json_ready(getattr(self, f.name)) for f in fields(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def read(path: Path) -> ReportManifest:
        """Reads and checks. `StoreError` for one that is missing, foreign or newer, `StoreFaults` for ill-typed
        fields."""
        try:
            content = parse_object(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path}: {error}", "publish the report again under another name") from None
        if content.get("format") != REPORT_FORMAT or content.get("format_version") != REPORT_VERSION:
            raise StoreError(
                f"{path} is no report of format version {REPORT_VERSION}", "a newer program may have made it"
            )
        faults = field_faults(ReportManifest, content)
        if isinstance(content.get("source"), dict):
            faults += [f"source.{fault}" for fault in source_faults(content["source"])]
        for name, record in content["files"].items() if isinstance(content.get("files"), dict) else ():
            faults += nested_faults(f"files.{name}", FileRecord, record)
        if faults:
            raise StoreFaults(str(path), faults, "publish the report again under another name")
        return ReportManifest(**{f.name: content[f.name] for f in fields(ReportManifest) if f.name in content})
