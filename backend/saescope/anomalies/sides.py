"""Which items are normal and which are anomalies, by their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from saescope.sources.files import listed
from saescope.sources.protocol import Source
from saescope.store.errors import DataError

LABEL = "label"


@dataclass(frozen=True)
class Sides:
    """Every item is normal, an anomaly, or neither: one that has no label, or one that is not named."""

    labels: pa.Array
    """Text, null where there is none."""
    normal: Bool[np.ndarray, " n_items"]
    anomalous: Bool[np.ndarray, " n_items"]
    words: str
    """What was named, for messages."""
    absent: Sequence[str] = ()
    """Labels that are named as anomalies, and no item has."""


def sides(source: Source, normal: Sequence[str] | None, anomaly: Sequence[str] | None, *, fitting: bool) -> Sides:
    """`normal` None: all other labels than `anomaly`; and the other way round; both None: all items are normal,
    labelled or not.

    `DataError` where labels are named that the data has not, but for anomalies when a detector is fitted: data to train
    on is often without them.
    """
    found = source.metadata().get(LABEL)
    labels = pa.nulls(source.n_items, pa.string()) if found is None else _flat(found)
    if normal is None and anomaly is None:
        return Sides(labels, np.ones(source.n_items, bool), np.zeros(source.n_items, bool), "no label is named")
    known = sorted(str(word) for word in pc.unique(labels).drop_null().to_pylist())
    if not known:
        raise DataError("labels are named as normal or anomalies, but no item of the data has one")
    missing = [word for word in (*(normal or ()), *(() if fitting else anomaly or ())) if word not in known]
    if missing:
        raise DataError(f"no item has the label {listed([repr(word) for word in missing])}", f"labels: {listed(known)}")
    is_normal = _among(labels, normal) if normal is not None else ~_among(labels, anomaly or ())
    is_anomaly = _among(labels, anomaly) if anomaly is not None else ~is_normal
    is_labelled = np.asarray(pc.is_valid(labels).to_numpy(zero_copy_only=False))
    words = "; ".join(
        f"{name} {listed(list(given), 6)}" for name, given in (("normal:", normal), ("anomalies:", anomaly)) if given
    )
    return Sides(
        labels,
        is_normal & is_labelled,
        is_anomaly & is_labelled,
        f"{words}; labels: {listed(known)}",
        [word for word in anomaly or () if word not in known],
    )


def _among(labels: pa.Array, words: Sequence[str]) -> Bool[np.ndarray, " n_items"]:
    found: Bool[np.ndarray, " n_items"] = pc.is_in(labels, value_set=pa.array(list(words), pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # of several chunks that could not be one
        array = pa.concat_arrays(array.chunks)
    return array.cast(pa.string())
