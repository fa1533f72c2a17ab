"""What features are called: the label that people gave, else the automatic one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import streamlit as st

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore


@st.cache_resource(show_spinner=False, max_entries=8)
def _automatic(sae_id: str, version: str, weights: str, _entry: Any) -> pa.ChunkedArray:
    """One column, shared by all readers and never changed: a version's features are immutable."""
    return _entry.table("features", ["auto_label"])["auto_label"]


def labels(store: FeatureStore, entry: Entry, feature_ids: Iterable[int]) -> dict[int, str]:
    """Labels of the given features, those without one left out."""
    given = store.annotations.states(entry.weights_sha256)
    automatic = _automatic(entry.sae_id, entry.version, entry.weights_sha256, entry)
    named = {}
    for feature_id in feature_ids:
        note = given.get(feature_id)
        label = note.label if note is not None and note.label else automatic[feature_id].as_py()
        if label:
            named[feature_id] = label
    return named
