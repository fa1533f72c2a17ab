"""Cached reads. A key is always (sae_id, version, ...): a new version is new data, an old one never changes.

Every cache is bounded in entries. What people add (labels, stars) changes at any moment and is never cached here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from saescope.store import FeatureStore, Sweep
from saescope.store.errors import StoreError

if TYPE_CHECKING:
    from saescope.store import Entry


@st.cache_resource(show_spinner=False, max_entries=4)
def open_store(path: str) -> FeatureStore:
    """One reader per store and process; it picks up new versions by itself."""
    return FeatureStore(Path(path))


def entries(store: FeatureStore) -> tuple[list[Entry], list[StoreError]]:
    """The live version of every entry that can be read, and what is wrong with the others."""
    readable, faults = [], []
    for sae_id in store.ids():
        try:
            readable.append(store[sae_id])
        except StoreError as error:
            faults.append(error)
    return readable, faults


def sweeps(store: FeatureStore) -> list[Sweep]:
    """The store's sweeps; where an entry cannot be read, each of the others on its own."""
    try:
        return store.sweeps()
    except StoreError:
        readable, _ = entries(store)
        return [Sweep(e.sae_id, e.manifest.architecture, None, e.manifest.source, [e]) for e in readable]


@st.cache_data(show_spinner=False, max_entries=64)
def _table(sae_id: str, version: str, name: str, _entry: Entry) -> pa.Table:
    return _entry.table(name)


def table(entry: Entry, name: str) -> pa.Table:
    """A small table as a whole (metrics, training, baselines); never examples or items."""
    return _table(entry.sae_id, entry.version, name, entry)


@st.cache_data(show_spinner=False, max_entries=256)
def _atoms(sae_id: str, version: str, feature_ids: tuple[int, ...], _entry: Entry) -> np.ndarray:
    return _entry.atoms(list(feature_ids))


def atoms(entry: Entry, feature_ids: tuple[int, ...]) -> np.ndarray:
    """Atoms of some features, float32 [n, d_out], in the order given."""
    return _atoms(entry.sae_id, entry.version, feature_ids, entry)


@st.cache_data(show_spinner=False, max_entries=256)
def _leading(sae_id: str, version: str, sort: str, n: int, _entry: Entry) -> list[int]:
    rows = _entry.features_page(sort=sort, descending=True, page=0, page_size=n).rows
    return [int(i) for i in rows.column("feature_id").to_pylist()]


def leading_features(entry: Entry, sort: str, n: int) -> list[int]:
    """The `n` features that lead in a statistic, largest first."""
    return _leading(entry.sae_id, entry.version, sort, n, entry)


@st.cache_data(show_spinner=False, max_entries=16)
def _densities(sae_id: str, version: str, _entry: Entry) -> np.ndarray:
    return _entry.table("features", ["density"]).column("density").to_numpy()


def densities(entry: Entry) -> np.ndarray:
    """Density of every feature, float64 [n_features]."""
    return _densities(entry.sae_id, entry.version, entry)


@st.cache_data(show_spinner=False, max_entries=64)
def _is_signed(sae_id: str, version: str, _entry: Entry) -> bool:
    smallest = pc.min(_entry.table("features", ["max_activation"]).column("max_activation")).as_py()
    return smallest is not None and smallest < 0


def is_signed(entry: Entry) -> bool:
    """Whether some feature fires below zero."""
    return _is_signed(entry.sae_id, entry.version, entry)


@st.cache_data(show_spinner=False, max_entries=64)
def _near_duplicates(
    sae_id: str, version: str, min_cosine: float, limit: int, _entry: Entry
) -> list[tuple[int, int, float]]:
    return [(d.feature_id, d.other_id, d.cosine) for d in _entry.near_duplicates(min_cosine, limit)]


def near_duplicates(entry: Entry, min_cosine: float, limit: int) -> list[tuple[int, int, float]]:
    """Pairs of features with near-equal atoms as (feature, feature, cosine), closest first."""
    return _near_duplicates(entry.sae_id, entry.version, min_cosine, limit, entry)


@st.cache_data(show_spinner=False, max_entries=64)
def _n_near_duplicates(sae_id: str, version: str, min_cosine: float, _entry: Entry) -> int:
    return _entry.n_near_duplicates(min_cosine)


def n_near_duplicates(entry: Entry, min_cosine: float) -> int:
    """How many such pairs there are."""
    return _n_near_duplicates(entry.sae_id, entry.version, min_cosine, entry)
