"""Cached reads. A key is always (sae_id, version, ...): a new version is new data, an old one never changes.

Every cache is bounded in entries. What people add (labels, stars) changes at any moment and is never cached here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import streamlit as st

from saescope.store import FeatureStore

if TYPE_CHECKING:
    from saescope.store import Entry


@st.cache_resource(show_spinner=False, max_entries=4)
def open_store(path: str) -> FeatureStore:
    """One reader per store and process; it picks up new versions by itself."""
    return FeatureStore(Path(path))


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
