"""What keeps a report honest: nothing that a detector or its autoencoder was fitted on is judged.

Rows are told by a hash of their activations, so that the same row is found again whatever file it is in.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from saescope.store.errors import DataError
from saescope.store.format.source import SourceDescription

_JUDGED = ("test", "validation", "all")


def check_fit_split(source: SourceDescription, has_splits: bool) -> None:
    """`DataError` where a detector is to be fitted on anything but the training split."""
    if source.split in _JUDGED and has_splits:
        raise DataError(
            f"fit is given split {source.split!r} of {source.path}: what was fitted on cannot be judged by afterwards",
            "fit on the training split (leave --split out), and give the test split to report",
        )


def item_hash(rows: Float32[np.ndarray, "position d"]) -> int:
    """64 bits of BLAKE2b over an item's positions."""
    return int.from_bytes(
        hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=8).digest(), "little", signed=True
    )


def item_hashes(
    place: Int64[np.ndarray, " row"], rows: Float32[np.ndarray, "row d"], n_items: int
) -> Int64[np.ndarray, " item"]:
    """The hash of each item's positions, which are in order of their item."""
    bounds = np.searchsorted(place, np.arange(n_items + 1))
    return np.array([item_hash(rows[a:b]) for a, b in itertools.pairwise(bounds)], np.int64)


def seen(hashes: Int64[np.ndarray, " item"], fitted: Int64[np.ndarray, " fitted"]) -> Bool[np.ndarray, " item"]:
    """True at items whose hash is among the `fitted` ones, which ascend."""
    if not len(fitted):
        return np.zeros(len(hashes), bool)
    place = np.minimum(np.searchsorted(fitted, hashes), len(fitted) - 1)
    return np.asarray(fitted[place] == hashes)


def check_unseen(n_seen: int, n_items: int, *, same_data: bool) -> None:
    """`DataError` where items that a detector was fitted on are among those to report on."""
    if not n_seen:
        return
    what = "this is the data that the detector was fitted on" if same_data else "the detector was fitted on some of it"
    raise DataError(
        f"{n_seen:,} of {n_items:,} items would be judged that the detector was fitted on: {what}",
        "report on the test split or other data, or add --leave-out-seen to judge the other items alone",
    )


def trained_on(training: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    """Hash of the data that an autoencoder was trained on, and the rule of what was held out (None: nothing was)."""
    source = training.get("source") or {}
    held_out = source.get("held_out") if isinstance(source, Mapping) else None
    return training.get("data_sha256"), held_out
