"""Cached reads. An entry counts as its version's folder: a new version is new data, an old one never changes.

Every cache is bounded in entries. What people add (labels, stars) changes at any moment and is never cached here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from saescope.store import Entry, FeatureStore
from saescope.store.errors import StoreError
from saescope.store.read.anomalies import AnomalyReport

P = ParamSpec("P")
R = TypeVar("R")


def _version_folder(entry: Entry) -> str:
    return str(entry.paths.root)


def per_version(max_entries: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache a read by its arguments, an `Entry` among them by its version; at most `max_entries` results are kept."""

    def decorate(read: Callable[P, R]) -> Callable[P, R]:
        cached: Callable[P, R] = st.cache_data(
            show_spinner=False, max_entries=max_entries, hash_funcs={Entry: _version_folder}
        )(read)
        return cached

    return decorate


@st.cache_resource(show_spinner=False, max_entries=4)
def open_store(path: str) -> FeatureStore:
    """One reader per store and process; it picks up new versions by itself."""
    return FeatureStore(Path(path))


@per_version(64)
def table(entry: Entry, name: str) -> pa.Table:
    """A small table as a whole (metrics, training, baselines); never examples or items."""
    return entry.table(name)


@per_version(64)
def formulas(entry: Entry) -> dict[str, str]:
    """The formula of each of its metrics; none where the table is damaged, which costs a page no more than a hint."""
    try:
        rows = entry.table("metrics", ["name", "formula"])
    except StoreError:
        return {}
    return dict(zip(rows.column("name").to_pylist(), rows.column("formula").to_pylist(), strict=True))


@per_version(256)
def atoms(entry: Entry, feature_ids: tuple[int, ...]) -> np.ndarray:
    """Atoms of some features, float32 [n, d_out], in the order given."""
    return entry.atoms(list(feature_ids))


@per_version(256)
def leading_features(entry: Entry, sort: str, n: int) -> list[int]:
    """The `n` features that lead in a statistic, largest first."""
    rows = entry.features_page(sort=sort, descending=True, page=0, page_size=n).rows
    return [int(i) for i in rows.column("feature_id").to_pylist()]


@per_version(16)
def densities(entry: Entry) -> np.ndarray:
    """Density of every feature, float64 [n_features]."""
    column: np.ndarray = entry.table("features", ["density"]).column("density").to_numpy()
    return column


@per_version(16)
def strongest(entry: Entry) -> np.ndarray:
    """The largest |activation| of every feature, float32 [n_features]; 0 for dead ones."""
    column = entry.table("features", ["max_activation"]).column("max_activation")
    values: np.ndarray = np.abs(pc.fill_null(column, 0.0).to_numpy())
    return values


@per_version(64)
def is_signed(entry: Entry) -> bool:
    """Whether some feature fires below zero."""
    smallest = pc.min(entry.table("features", ["max_activation"]).column("max_activation")).as_py()
    return smallest is not None and smallest < 0


@per_version(64)
def near_duplicates(entry: Entry, min_cosine: float, limit: int) -> list[tuple[int, int, float]]:
    """Pairs of features with near-equal atoms as (feature, feature, cosine), closest first."""
    return [(d.feature_id, d.other_id, d.cosine) for d in entry.near_duplicates(min_cosine, limit)]


@per_version(64)
def n_near_duplicates(entry: Entry, min_cosine: float) -> int:
    """How many such pairs there are."""
    return entry.n_near_duplicates(min_cosine)


def _report_folder(report: AnomalyReport) -> str:
    return str(report.paths.root)


def _per_report(max_entries: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache a read by its arguments, an anomaly report among them by its folder, which never changes."""

    def decorate(read: Callable[P, R]) -> Callable[P, R]:
        cached: Callable[P, R] = st.cache_data(
            show_spinner=False, max_entries=max_entries, hash_funcs={AnomalyReport: _report_folder}
        )(read)
        return cached

    return decorate


@_per_report(64)
def report_table(report: AnomalyReport, name: str) -> pa.Table:
    """A small table of a report as a whole; never its scores."""
    return report.table(name)


@_per_report(64)
def report_curve(report: AnomalyReport, kind: str, signal: str) -> pa.Table:
    """The points of one curve."""
    return report.curve(kind, signal)


@_per_report(8)
def report_scores(report: AnomalyReport) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the judged items, float64 [item], and which of them are anomalies, bool [item]."""
    rows = report.table("scores", ["score", "is_anomaly"])
    rows = rows.filter(pc.is_valid(rows["is_anomaly"]))
    return rows["score"].to_numpy(), rows["is_anomaly"].to_numpy().astype(bool)
