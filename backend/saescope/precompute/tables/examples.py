"""The store's `examples`: each feature's strongest items, and a fair sample of every interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int8, Int16, Int32, Int64

from saescope.precompute import kernels
from saescope.precompute.kernels.records import Windows
from saescope.precompute.one_pass.spill import Spill
from saescope.precompute.one_pass.state import FeatureState
from saescope.precompute.tables.intervals import Intervals
from saescope.store.format.schema import schema_of

WINDOW_VALUES = 2**26
"""Most window activations held at a time."""


@dataclass(frozen=True)
class Examples:
    """Rows of `examples` without their windows. `interval` is -1 for top examples."""

    feature: Int32[np.ndarray, " example"]
    interval: Int8[np.ndarray, " example"]
    rank: Int16[np.ndarray, " example"]
    item: Int64[np.ndarray, " example"]
    position: Int32[np.ndarray, " example"]
    activation: Float32[np.ndarray, " example"]

    def take(self, rows: np.ndarray) -> Examples:
        return Examples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def choose_examples(state: FeatureState, intervals: Intervals) -> Examples:
    """All examples, sorted as the store wants them: by feature, interval samples before the top, then rank."""
    n_top = state.top.value.shape[1]
    kept = np.arange(n_top) < state.top.n[:, None]
    feature, rank = np.nonzero(kept)
    top = Examples(
        feature.astype(np.int32),
        np.full(len(feature), -1, np.int8),
        rank.astype(np.int16),
        state.top.item[kept],
        state.top.position[kept],
        state.top.value[kept],
    )
    sampled = _samples(state, intervals)
    both = Examples(*(np.concatenate([getattr(sampled, n), getattr(top, n)]) for n in Examples.__dataclass_fields__))
    order = np.lexsort((both.rank, both.interval, both.interval < 0, both.feature))
    return both.take(order)


def _samples(state: FeatureState, intervals: Intervals) -> Examples:
    """Of the firings that each interval's bins kept, those with the smallest hashes, strongest first."""
    n_samples = state.samples.hash.shape[2]
    used = np.flatnonzero(state.samples.n.any(axis=1))
    kept = np.arange(n_samples) < state.samples.n[used][:, :, None]
    at, feature, _ = np.nonzero(kept)
    interval = intervals.of_bin[feature, used[at]]
    hashes = state.samples.hash[used][kept]
    order = np.lexsort((hashes, interval, feature))
    order = order[_rank_within(feature[order], interval[order]) < n_samples]
    values, items, positions = (
        array[used][kept][order] for array in (state.samples.value, state.samples.item, state.samples.position)
    )
    feature, interval = feature[order], interval[order]
    order = np.lexsort((positions, items, -np.abs(values), interval, feature))
    feature, interval = feature[order], interval[order]
    rank = _rank_within(feature, interval).astype(np.int16)
    return Examples(feature.astype(np.int32), interval, rank, items[order], positions[order], values[order])


def _rank_within(feature: np.ndarray, interval: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Place of each row among the neighbouring rows of the same feature and interval."""
    n = len(feature)
    if not n:
        return np.empty(0, np.int64)
    starts = np.concatenate([[True], (feature[1:] != feature[:-1]) | (interval[1:] != interval[:-1])])
    first = np.flatnonzero(starts)
    return np.arange(n) - np.repeat(first, np.diff(np.append(first, n)))


Lengths = Callable[[Int64[np.ndarray, " item"]], Int64[np.ndarray, " item"]]


def example_batches(
    examples: Examples, n_features: int, spill: Spill | None, longest: int, lengths: Lengths | None = None
) -> Iterator[pa.RecordBatch]:
    """The table in pieces of whole features. `spill` None: items have one position, so there are no windows; else
    items have at most `longest` positions.

    A window is the whole item: as many positions as `lengths` tells of it, or up to its last evaluated one.
    """
    schema = schema_of("examples")
    at_once = max(1, WINDOW_VALUES // longest)
    borders = np.searchsorted(examples.feature, np.arange(n_features + 1))
    first = 0
    while first < n_features:
        last = int(np.clip(np.searchsorted(borders, borders[first] + at_once, "right") - 1, first + 1, n_features))
        part = examples.take(np.arange(borders[first], borders[last]))
        n = len(part.feature)
        sampled = pa.array(part.interval >= 0)
        columns = {
            "feature_id": pa.array(part.feature),
            "kind": pc.if_else(sampled, "interval", "top"),
            "interval": pa.array(part.interval, mask=part.interval < 0),
            "rank": pa.array(part.rank),
            "item_id": pa.array(part.item),
            "position": pa.array(part.position),
            "activation": pa.array(part.activation),
            "window_start": pa.nulls(n, pa.int32()) if spill is None else pa.array(np.zeros(n, np.int32)),
            "window_activations": (
                pa.nulls(n, pa.list_(pa.float32())) if spill is None else _windows(part, n_features, spill, lengths)
            ),
        }
        yield pa.RecordBatch.from_pydict(columns, schema)
        first = last


def _windows(examples: Examples, n_features: int, spill: Spill, lengths: Lengths | None) -> pa.ListArray:
    """For each example, the feature's activation at every position of its item; 0 where it is not evaluated."""
    order = np.lexsort((examples.feature, examples.item))
    items, features = examples.item[order], examples.feature[order].astype(np.int64)
    first, end = spill.rows_of_items(items)
    sizes = np.empty(len(order), np.int64)
    sizes[order] = spill.positions[end - 1].astype(np.int64) + 1 if lengths is None else lengths(items)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    values = np.zeros(offsets[-1], np.float32)
    slot = np.full(n_features, -1, np.int64)
    wanted = Windows(items, features, offsets[order], first, end)
    kernels.windows(wanted, spill.codes, spill.positions, slot, values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
