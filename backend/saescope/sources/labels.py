"""Choosing items by their label, before anything is hashed, measured or held out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from saescope.sources.files import listed
from saescope.store.errors import DataError


def chosen_items(
    labels: pa.Array | None, subject: str, *, only_labels: str | None = None, without_labels: str | None = None
) -> Int64[np.ndarray, " chosen"]:
    """Indices of the items that are chosen by their labels, ascending. `DataError` where the data has no labels, lacks
    one that is named, or nothing is left."""
    if labels is None or labels.null_count == len(labels):
        raise DataError(f"{subject}: items are to be chosen by label, but they have none", "name data with labels")
    known = pc.unique(labels).drop_null().to_pylist()
    kept = np.ones(len(labels), bool)
    for given, inside in ((only_labels, True), (without_labels, False)):
        if given is None:
            continue
        wanted = given.split(",")
        missing = [word for word in wanted if word not in known]
        if missing:
            raise DataError(
                f"{subject}: no item has the label {listed([repr(word) for word in missing])}",
                f"labels: {listed(sorted(known))}",
            )
        named = pc.is_in(labels, value_set=pa.array(wanted, pa.string()))
        kept &= named.to_numpy(zero_copy_only=False) == inside
    if not kept.any():
        raise DataError(f"{subject}: no item is left by the labels chosen", f"labels: {listed(sorted(known))}")
    return np.flatnonzero(kept).astype(np.int64)
