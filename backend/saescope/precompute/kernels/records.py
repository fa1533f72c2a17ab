"""What the compiled loops take: arrays by their type, and tuples of arrays that belong together.

Compiled code is cached beside the loops, not beside this file: after a change of a tuple's fields, touch those that
take it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8, UInt32, UInt64
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
U64 = NDArray[np.uint64]
RowNumbers = NDArray[Any]
"""int32 or int64 by how many rows there are."""


class Places(NamedTuple):
    """Where the rows of a block come from."""

    items: Int64[np.ndarray, " row"]
    positions: Int64[np.ndarray, " row"]
    keys: UInt64[np.ndarray, " row"]
    """Hash of (item, position)."""


class HistogramLayout(NamedTuple):
    """Bins of |activation|, as `HistogramSpec` has them."""

    low: int
    """Exponent of the first edge."""
    bins_per_octave: int
    samples_per_octave: int
    n_bins: int
    n_sampling_bins: int
    mantissa_bits: UInt32[np.ndarray, " bins_per_octave"]
    """Lower edges of the bins of an octave, as the fraction bits of a float32."""


class FiringSums(NamedTuple):
    """What is summed over the firings of each feature."""

    n_firing: Int64[np.ndarray, " feature"]
    total: Float64[np.ndarray, " feature"]
    """Sum of activations."""
    total_squares: Float64[np.ndarray, " feature"]
    histogram: Int64[np.ndarray, "feature bin"]


class TopExamples(NamedTuple):
    """Each feature's strongest firings, strongest first: the first `n` places of its row are in use."""

    value: Float32[np.ndarray, "feature top"]
    item: Int64[np.ndarray, "feature top"]
    position: Int32[np.ndarray, "feature top"]
    n: Int32[np.ndarray, " feature"]


class Samples(NamedTuple):
    """A fair sample of each feature's firings in each sampling bin: those with the smallest hashes, ascending."""

    hash: UInt64[np.ndarray, "sbin feature sample"]
    value: Float32[np.ndarray, "sbin feature sample"]
    item: Int64[np.ndarray, "sbin feature sample"]
    position: Int32[np.ndarray, "sbin feature sample"]
    n: UInt8[np.ndarray, "sbin feature"]
    """Places in use."""
    bound: UInt64[np.ndarray, "sbin feature"]
    """Hash that the next one must stay below."""


class Postings(NamedTuple):
    """Firings by feature: feature f fires in `rows[pointers[f]:pointers[f + 1]]`, ascending."""

    pointers: Int64[np.ndarray, " feature+1"]
    rows: RowNumbers


class Windows(NamedTuple):
    """Items whose activations of one feature are wanted, sorted by (item, feature)."""

    items: Int64[np.ndarray, " wanted"]
    features: Int64[np.ndarray, " wanted"]
    offsets: Int64[np.ndarray, " wanted"]
    """Where in the result each begins."""
    first_row: Int64[np.ndarray, " wanted"]
    end_row: Int64[np.ndarray, " wanted"]
    """The item's rows are first_row ... end_row - 1."""


class Partners(NamedTuple):
    """The features that fire with each of some features, best first: the first `n` places of a row are in use."""

    other: Int64[np.ndarray, "feature kept"]
    n_both: Int64[np.ndarray, "feature kept"]
    jaccard: Float64[np.ndarray, "feature kept"]
    n: Int64[np.ndarray, " feature"]


class TopTokens(NamedTuple):
    """The tokens that each of some features fires on most often: the first `n` places of a row are in use."""

    n: Int64[np.ndarray, " feature"]
    token: Int32[np.ndarray, "feature kept"]
    n_firing: Int64[np.ndarray, "feature kept"]
    total: Float64[np.ndarray, "feature kept"]
    """Sum of activations."""
    label_token: Int64[np.ndarray, " feature"]
    """The most frequent token that may label the feature, -1 where there is none."""
    label_firing: Int64[np.ndarray, " feature"]
    """Firings on it."""


class LabelRule(NamedTuple):
    """What a token must have to label a feature."""

    min_items: int
    """Distinct items in which the feature fires on it."""
    min_lift: float
    """Its share of the feature's firings over its share of all positions."""


class Extremes(NamedTuple):
    """The largest or smallest entries of each row, strongest first."""

    column: Int32[np.ndarray, "row kept"]
    value: Float32[np.ndarray, "row kept"]
