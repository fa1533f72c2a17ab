"""The feature store: paths, schema, writer, reader, search, annotations. Needs duckdb, pyarrow, numpy and msgspec only.

    from saescope.store import FeatureStore

    store = FeatureStore("my-store")
    entry = store["mnist-topk-k16"]
    entry.feature(12), entry.examples(12), entry.search("digit 7 and density < 0.01")

The names below are imported when they are first used, so that the errors alone cost no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from saescope.store.lazy_names import lazy

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

__getattr__ = lazy(
    __name__,
    {
        "Entry": "read.entry",
        "FeatureStore": "read.reader",
        "Sweep": "read.reader",
    },
)
