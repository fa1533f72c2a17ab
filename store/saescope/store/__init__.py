"""The feature store: paths, schema, writer, reader, search, annotations. Needs duckdb, pyarrow, numpy and msgspec only.

    from saescope.store import FeatureStore

    store = FeatureStore("my-store")
    entry = store["mnist-topk-k16"]
    entry.feature(12), entry.examples(12), entry.search("digit 7 and density < 0.01")

The names below are imported when they are first used, so that the errors alone cost no database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from saescope.store.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    OptionError,
    QueryError,
    StorageError,
    StoreError,
    UnknownEntry,
    UnknownFeature,
    UnknownItem,
    UserError,
)

if TYPE_CHECKING:
    from saescope.store.read.entry import Entry
    from saescope.store.read.reader import FeatureStore, Sweep

__all__ = [
    "CheckpointError",
    "DataError",
    "DeviceError",
    "Entry",
    "FeatureStore",
    "OptionError",
    "QueryError",
    "StorageError",
    "StoreError",
    "Sweep",
    "UnknownEntry",
    "UnknownFeature",
    "UnknownItem",
    "UserError",
]

_LAZY = {
    "Entry": "saescope.store.read.entry",
    "FeatureStore": "saescope.store.read.reader",
    "Sweep": "saescope.store.read.reader",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
