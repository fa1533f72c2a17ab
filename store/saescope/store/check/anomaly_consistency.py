"""Faults of published anomaly reports: files against the manifest, tables against their schema, numbers against each
other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from saescope.store.atomic import is_temporary
from saescope.store.check.fault import Fault
from saescope.store.errors import StoreError, StoreFaults
from saescope.store.format.anomaly_tables import ANOMALY_TABLES, CURVES, KINDS, ReportManifest, report_schema
from saescope.store.format.hashing import file_sha256
from saescope.store.format.paths import SAE_ID_PATTERN, AnomalyPaths, StorePaths
from saescope.store.format.tables import order_faults, read_parquet

_METRICS = ("auc", "average_precision", "detection_rate", "false_alarm_rate")


def report_faults(paths: StorePaths) -> Iterator[Fault]:
    """Every fault of every report of a store."""
    for folder in sorted(paths.anomalies.iterdir()) if paths.anomalies.is_dir() else []:
        if is_temporary(folder):
            continue
        if not SAE_ID_PATTERN.fullmatch(folder.name) or not folder.is_dir():
            yield Fault(folder.name, "anomalies/", "not the folder of a report")
            continue
        for file, problem in _faults(folder.name, paths.anomaly(folder.name)):
            yield Fault(f"anomalies/{folder.name}", file, problem)


def _faults(name: str, paths: AnomalyPaths) -> Iterator[tuple[str, str]]:
    try:
        manifest = ReportManifest.read(paths.manifest)
    except StoreFaults as error:
        yield from (("manifest.json", fault) for fault in error.faults)
        return
    except StoreError as error:
        yield "manifest.json", error.message
        return
    if manifest.name != name:
        yield "manifest.json", f"name is {manifest.name!r}, expected {name!r}"
    tables: dict[str, pa.Table] = {}
    for table in ANOMALY_TABLES.values():
        file = f"{table.name}.parquet"
        if file not in manifest.files:
            if table.required:
                yield file, "required, but not in the manifest"
            continue
        try:
            path = paths.table(table.name)
            if not path.is_file() or file_sha256(path) != manifest.files[file]["sha256"]:
                yield file, "missing" if not path.is_file() else "its sha256 is not the manifest's"
                continue
            tables[table.name] = read_parquet(path)
        except (OSError, StoreError) as error:
            yield file, f"cannot be read: {error}"
    for path in sorted(paths.root.iterdir()):
        if path.name != "manifest.json" and path.name not in manifest.files:
            yield path.name, "extra file, not in the manifest"
    sound = {}
    for table_name, rows in tables.items():
        problems = list(_schema_faults(table_name, rows))
        yield from ((f"{table_name}.parquet", problem) for problem in problems)
        if not problems:
            sound[table_name] = rows
    for table_name, problem in _content_faults(sound, manifest):
        yield f"{table_name}.parquet", problem


def _schema_faults(name: str, rows: pa.Table) -> Iterator[str]:
    for column in report_schema(name):
        if column.name not in rows.column_names:
            yield f"column {column.name} is missing"
        elif rows[column.name].type != column.type:
            yield f"column {column.name} is {rows[column.name].type}, expected {column.type}"
        elif rows[column.name].null_count and not column.nullable:
            yield f"column {column.name} has nulls"
    if len(rows) > 1 and all(key in rows.column_names for key in ANOMALY_TABLES[name].sorted_by):
        keys = [_key(rows[key]) for key in ANOMALY_TABLES[name].sorted_by]
        if order_faults(keys) != (0, 0):
            yield f"rows are not sorted by {', '.join(ANOMALY_TABLES[name].sorted_by)}, or repeat"


def _key(column: pa.ChunkedArray) -> np.ndarray:
    values = np.asarray(column.to_pylist())
    return np.unique(values, return_inverse=True)[1] if values.dtype.kind == "U" else values


def _content_faults(tables: dict[str, pa.Table], manifest: ReportManifest) -> Iterator[tuple[str, str]]:
    if "scores" in tables:
        scores = tables["scores"]
        truth = scores["is_anomaly"].to_pylist()
        for value, expected, what in (
            (False, manifest.n_normal, "normal items"),
            (True, manifest.n_anomalous, "anomalies"),
        ):
            if truth.count(value) != expected:
                yield "scores", f"has {truth.count(value):,} judged {what}, the manifest says {expected:,}"
        flags, values = scores["flagged"].to_pylist(), scores["score"].to_pylist()
        wrong = sum(
            f is not (None if v is None else v > manifest.threshold) for f, v in zip(flags, values, strict=True)
        )
        if wrong:
            yield "scores", f"{wrong:,} items are flagged otherwise than the threshold {manifest.threshold:g} says"
        lacking = [name for name in manifest.signals if name not in scores.column_names]
        if lacking:
            yield "scores", f"lacks the scores of {', '.join(lacking)}"
    if "histogram" in tables:
        for name, expected in (("n_normal", manifest.n_normal), ("n_anomalous", manifest.n_anomalous)):
            total = sum(tables["histogram"][name].to_pylist())
            if total != expected:
                yield "histogram", f"{name} sums to {total:,}, the manifest says {expected:,}"
    if "judgements" in tables:
        yield from (
            ("judgements", problem) for problem in _judgement_faults(tables["judgements"].to_pylist(), manifest)
        )
    for table_name, column, known in (("curves", "kind", CURVES), ("examples", "kind", KINDS)):
        unknown = set(tables[table_name][column].to_pylist()) - set(known) if table_name in tables else set()
        if unknown:
            yield table_name, f"{column} is {sorted(unknown)}, expected {' or '.join(known)}"


def _judgement_faults(rows: list[dict[str, Any]], manifest: ReportManifest) -> Iterator[str]:
    for row in rows:
        if not 0 <= row["value"] <= 1 or not 0 <= row["low"] <= row["high"] <= 1:
            yield f"{row['signal']} {row['metric']} or its interval is not within 0 and 1"
    own = {row["metric"]: row["value"] for row in rows if row["signal"] == manifest.signal}
    for name in _METRICS:
        if own.get(name) != manifest.metrics.get(name):
            yield f"{name} is {own.get(name)}, the manifest says {manifest.metrics.get(name)}"
