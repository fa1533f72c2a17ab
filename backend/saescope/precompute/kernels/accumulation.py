"""What the pass keeps of every feature."""

from __future__ import annotations

import numba
import numpy as np

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.kernels.records import U64, FiringSums, HistogramLayout, Places, Samples, TopExamples
from saescope.sources.splitmix import mix


@numba.njit(cache=True, nogil=True)
def _keep_top(f: int, v: float, item: int, position: int, top: TopExamples) -> None:
    """Insert a candidate into the sorted top list of feature `f`: by |activation| down, item up, position up, and at
    most one entry per item. Rows come in any order."""
    value, items, positions, n_top = top
    k = value.shape[1]
    n = n_top[f]
    magnitude = abs(v)
    at = n
    for i in range(n):  # an entry of the same item stays unless the candidate comes before it
        if items[f, i] == item:
            if abs(value[f, i]) > magnitude or (abs(value[f, i]) == magnitude and positions[f, i] <= position):
                return
            at = i
            break
    if at == n:
        if n < k:
            n_top[f] = n + 1
        else:
            at = k - 1
            last = abs(value[f, at])
            if last > magnitude or (last == magnitude and items[f, at] < item):
                return
    while at > 0:
        before = abs(value[f, at - 1])
        if before > magnitude or (before == magnitude and items[f, at - 1] < item):
            break
        value[f, at] = value[f, at - 1]
        items[f, at] = items[f, at - 1]
        positions[f, at] = positions[f, at - 1]
        at -= 1
    value[f, at] = v
    items[f, at] = item
    positions[f, at] = position


@numba.njit(cache=True, nogil=True)
def _keep_sample(b: int, f: int, h: np.uint64, v: float, item: int, position: int, samples: Samples) -> None:
    """Insert a firing into the sample of sampling bin `b`, which keeps the smallest hashes in ascending order."""
    hashes, value, items, positions, n_kept, bound = samples
    s = hashes.shape[2]
    n = n_kept[b, f]
    at = n if n < s else s - 1
    if n < s:
        n_kept[b, f] = n + 1
    while at > 0 and hashes[b, f, at - 1] > h:
        hashes[b, f, at] = hashes[b, f, at - 1]
        value[b, f, at] = value[b, f, at - 1]
        items[b, f, at] = items[b, f, at - 1]
        positions[b, f, at] = positions[b, f, at - 1]
        at -= 1
    hashes[b, f, at] = h
    value[b, f, at] = v
    items[b, f, at] = item
    positions[b, f, at] = position
    if n_kept[b, f] == s:
        bound[b, f] = hashes[b, f, s - 1]


@numba.njit(cache=True, nogil=True)
def accumulate(
    codes: CodeRows,
    places: Places,
    feature_keys: U64,
    first: int,
    last: int,
    layout: HistogramLayout,
    sums: FiringSums,
    top: TopExamples,
    samples: Samples,
) -> None:
    """Add every firing of the features from `first` up to, not including, `last` to the state of its feature.

    Sums run in float64 in the order of rows, so they do not depend on how rows are cut into blocks. Histogram bin and
    sampling bin come from the bits of |activation|: exponent, then the fraction against the octave's edges.
    """
    row_ptr, features, values = codes
    items, positions, row_keys = places
    low, bins_per_octave, samples_per_octave, n_bins, n_sampling_bins, mantissa_bits = layout
    n_firing, total, total_squares, histogram = sums
    top_value, n_top, sample_bound = top.value, top.n, samples.bound
    n_rows = row_ptr.size - 1
    k = top_value.shape[1]
    per_sample = bins_per_octave // samples_per_octave
    bits_of = values.view(np.uint32)
    for r in range(n_rows):
        item = items[r]
        position = positions[r]
        row_key = row_keys[r]
        for e in range(row_ptr[r], row_ptr[r + 1]):
            f = features[e]
            if f < first or f >= last:
                continue
            v = values[e]
            wide = np.float64(v)
            n_firing[f] += 1
            total[f] += wide
            total_squares[f] += wide * wide
            bits = bits_of[e] & np.uint32(0x7FFFFFFF)
            octave = int(bits >> np.uint32(23)) - 127 - low
            if octave < 0:
                hist_bin = 0
                sample_bin = 0
            else:
                fraction = bits & np.uint32(0x7FFFFF)
                step = 0
                for j in range(1, bins_per_octave):
                    step += fraction >= mantissa_bits[j]
                hist_bin = 1 + octave * bins_per_octave + step
                sample_bin = 1 + octave * samples_per_octave + step // per_sample
                if hist_bin >= n_bins:
                    hist_bin = n_bins - 1
                    sample_bin = n_sampling_bins - 1
            histogram[f, hist_bin] += 1
            if n_top[f] < k or abs(v) >= abs(top_value[f, k - 1]):
                _keep_top(f, v, item, position, top)
            h = mix(feature_keys[f] ^ row_key)
            if h < sample_bound[sample_bin, f]:
                _keep_sample(sample_bin, f, h, v, item, position, samples)


@numba.njit(cache=True, nogil=True)
def merge_kept(top: TopExamples, other_top: TopExamples, samples: Samples, other: Samples) -> None:
    """Insert the top examples and samples of another state into this one."""
    for f in range(top.n.size):
        for i in range(other_top.n[f]):
            _keep_top(f, other_top.value[f, i], other_top.item[f, i], other_top.position[f, i], top)
    for b in range(samples.n.shape[0]):
        for f in range(samples.n.shape[1]):
            for i in range(other.n[b, f]):
                h = other.hash[b, f, i]
                if h < samples.bound[b, f]:
                    _keep_sample(b, f, h, other.value[b, f, i], other.item[b, f, i], other.position[b, f, i], samples)
