"""The inner loops of the one pass, compiled.

Codes come as compressed rows: row r fires the features `features[row_ptr[r]:row_ptr[r + 1]]` with `values` alike. Every
loop below costs a few nanoseconds per firing and never visits a feature that is silent. All of them release the
interpreter lock.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
Rows = NDArray[Any]
"""Row numbers, int32 or int64 by how many there are."""

_U = np.uint64


@numba.njit(cache=True, nogil=True, inline="always")
def mix(h: np.uint64) -> np.uint64:
    """Finaliser of splitmix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit."""
    h = (h ^ (h >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> _U(27))) * _U(0x94D049BB133111EB)
    return h ^ (h >> _U(31))


@numba.njit(cache=True, nogil=True)
def feature_keys(seed: int, n_features: int) -> U64:
    """Hash of (seed, feature) for each feature."""
    keys = np.empty(n_features, np.uint64)
    start = mix(_U(seed) + _U(0x9E3779B97F4A7C15))
    for f in range(n_features):
        keys[f] = mix(start + _U(f) * _U(0x9E3779B97F4A7C15))
    return keys


@numba.njit(cache=True, nogil=True)
def position_keys(items: I64, positions: I64) -> U64:
    """Hash of (item, position) for each row."""
    keys = np.empty(items.size, np.uint64)
    for r in range(items.size):
        keys[r] = mix(mix(_U(items[r]) + _U(0x9E3779B97F4A7C15)) + _U(positions[r]) * _U(0xD1B54A32D192ED03))
    return keys


@numba.njit(cache=True, nogil=True)
def compress(codes: F32, threshold: np.float32, row_ptr: I64, features: I32, values: F32) -> int:
    """Firing entries of a dense block, by row then feature.

    Returns their number, or minus one where `features` and `values` are too short.
    """
    n_rows, n_features = codes.shape
    n = 0
    capacity = features.size
    whole = n_features - n_features % 16
    row_ptr[0] = 0
    for r in range(n_rows):
        row = codes[r]
        if n + n_features > capacity:  # only then can this row overflow: look before writing
            count = 0
            for f in range(n_features):
                if abs(row[f]) > threshold:
                    count += 1
            if n + count > capacity:
                return -1
        for start in range(0, whole, 16):
            fires = False
            for f in range(start, start + 16):
                fires |= abs(row[f]) > threshold
            if fires:
                for f in range(start, start + 16):
                    if abs(row[f]) > threshold:
                        features[n] = f
                        values[n] = row[f]
                        n += 1
        for f in range(whole, n_features):
            if abs(row[f]) > threshold:
                features[n] = f
                values[n] = row[f]
                n += 1
        row_ptr[r + 1] = n
    return n


@numba.njit(cache=True, nogil=True)
def compress_selection(
    indices: I64, selected: F32, threshold: np.float32, row_ptr: I64, features: I32, values: F32
) -> int:
    """Firing entries of at most k per row, in the order given. Returns their number."""
    n_rows, k = indices.shape
    n = 0
    row_ptr[0] = 0
    for r in range(n_rows):
        for j in range(k):
            if abs(selected[r, j]) > threshold:
                features[n] = indices[r, j]
                values[n] = selected[r, j]
                n += 1
        row_ptr[r + 1] = n
    return n


@numba.njit(cache=True, nogil=True)
def _keep_top(f: int, v: float, item: int, position: int, value: F32, items: I64, positions: I32, n_top: I32) -> None:
    """Insert a candidate into the sorted top list of feature `f`: by |activation| down, item up, position up, and at
    most one entry per item. Rows come in any order."""
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
def _keep_sample(
    b: int,
    f: int,
    h: np.uint64,
    v: float,
    item: int,
    position: int,
    hashes: U64,
    value: F32,
    items: I64,
    positions: I32,
    n_kept: U8,
    bound: U64,
) -> None:
    """Insert a firing into the sample of sampling bin `b`, which keeps the smallest hashes in ascending order."""
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
    row_ptr: I64,
    features: I32,
    values: F32,
    items: I64,
    positions: I64,
    row_keys: U64,
    f_keys: U64,
    low: int,
    bins_per_octave: int,
    samples_per_octave: int,
    n_bins: int,
    n_sampling_bins: int,
    mantissa_bits: U32,
    n_firing: I64,
    total: F64,
    total_squares: F64,
    histogram: I64,
    top_value: F32,
    top_item: I64,
    top_position: I32,
    n_top: I32,
    sample_hash: U64,
    sample_value: F32,
    sample_item: I64,
    sample_position: I32,
    n_sample: U8,
    sample_bound: U64,
) -> None:
    """Add every firing of a block to the state of its feature.

    Sums run in float64 in the order of rows, so they do not depend on how rows are cut into blocks. Histogram bin and
    sampling bin come from the bits of |activation|: exponent, then the fraction against the octave's edges.
    """
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
                _keep_top(f, v, item, position, top_value, top_item, top_position, n_top)
            h = mix(f_keys[f] ^ row_key)
            if h < sample_bound[sample_bin, f]:
                _keep_sample(
                    sample_bin,
                    f,
                    h,
                    v,
                    item,
                    position,
                    sample_hash,
                    sample_value,
                    sample_item,
                    sample_position,
                    n_sample,
                    sample_bound,
                )


@numba.njit(cache=True, nogil=True)
def merge_kept(
    top_value: F32,
    top_item: I64,
    top_position: I32,
    n_top: I32,
    other_top_value: F32,
    other_top_item: I64,
    other_top_position: I32,
    other_n_top: I32,
    sample_hash: U64,
    sample_value: F32,
    sample_item: I64,
    sample_position: I32,
    n_sample: U8,
    sample_bound: U64,
    other_hash: U64,
    other_value: F32,
    other_item: I64,
    other_position: I32,
    other_n_sample: U8,
) -> None:
    """Insert the top examples and samples of another state into this one."""
    for f in range(n_top.size):
        for i in range(other_n_top[f]):
            _keep_top(
                f,
                other_top_value[f, i],
                other_top_item[f, i],
                other_top_position[f, i],
                top_value,
                top_item,
                top_position,
                n_top,
            )
    for b in range(n_sample.shape[0]):
        for f in range(n_sample.shape[1]):
            for i in range(other_n_sample[b, f]):
                h = other_hash[b, f, i]
                if h < sample_bound[b, f]:
                    _keep_sample(
                        b,
                        f,
                        h,
                        other_value[b, f, i],
                        other_item[b, f, i],
                        other_position[b, f, i],
                        sample_hash,
                        sample_value,
                        sample_item,
                        sample_position,
                        n_sample,
                        sample_bound,
                    )


@numba.njit(cache=True, nogil=True)
def transpose(row_ptr: I64, features: I32, cursor: I64, rows: Rows) -> None:
    """Write the row of each firing at its feature's cursor: compressed rows to compressed columns."""
    for r in range(row_ptr.size - 1):
        for e in range(row_ptr[r], row_ptr[r + 1]):
            f = features[e]
            rows[cursor[f]] = r
            cursor[f] += 1


@numba.njit(cache=True, nogil=True)
def l1_of_rows(row_ptr: I64, values: F32, rows: Rows) -> float:
    """Sum of |value| over the firings of `rows`, in float64."""
    total = 0.0
    for r in rows:
        for e in range(row_ptr[r], row_ptr[r + 1]):
            total += np.float64(abs(values[e]))
    return total


@numba.njit(cache=True, nogil=True)
def windows(
    items: I64,
    wanted: I64,
    offsets: I64,
    first_row: I64,
    end_row: I64,
    row_ptr: I64,
    features: I32,
    values: F32,
    positions: I32,
    slot: I64,
    out: F32,
) -> None:
    """Activation of feature `wanted[i]` at every position of item `items[i]`, silent ones 0, into `out` from
    `offsets[i]` on.

    Pairs (item, feature) are unique and sorted by item; the item's rows are first_row[i] ... end_row[i] - 1. `slot` has
    an entry of -1 for every feature and is left so.
    """
    i = 0
    while i < items.size:
        j = i
        while j < items.size and items[j] == items[i]:
            slot[wanted[j]] = j
            j += 1
        for r in range(first_row[i], end_row[i]):
            for e in range(row_ptr[r], row_ptr[r + 1]):
                at = slot[features[e]]
                if at >= 0:
                    out[offsets[at] + positions[r]] = values[e]
        for m in range(i, j):
            slot[wanted[m]] = -1
        i = j


@numba.njit(cache=True, nogil=True)
def pairs_within_rows(row_ptr: I64) -> float:
    """Sum over rows of the squared number of firings."""
    total = 0.0
    for r in range(row_ptr.size - 1):
        total += np.float64(row_ptr[r + 1] - row_ptr[r]) ** 2
    return total


@numba.njit(cache=True, nogil=True)
def rows_of_categories(row_item: I64, category: I64, counts: I64) -> None:
    """Count the rows of each category; items with category -1 count nowhere."""
    for r in range(row_item.size):
        c = category[row_item[r]]
        if c >= 0:
            counts[c] += 1


@numba.njit(cache=True, nogil=True, fastmath=True)
def gather(chosen: I64, row_ptr: I64, features: I32, values: F32, atoms: F32, bias: F32, out: F32) -> None:
    """Reconstructions of the chosen rows: bias plus the sum of value times atom, four atoms at a time."""
    width = atoms.shape[1]
    for i in range(chosen.size):
        row = out[i]
        row[:] = bias
        e, end = row_ptr[chosen[i]], row_ptr[chosen[i] + 1]
        while e + 4 <= end:
            a, b, c, d = atoms[features[e]], atoms[features[e + 1]], atoms[features[e + 2]], atoms[features[e + 3]]
            s, t, u, v = values[e], values[e + 1], values[e + 2], values[e + 3]
            for j in range(width):
                row[j] += s * a[j] + t * b[j] + u * c[j] + v * d[j]
            e += 4
        while e < end:
            a, s = atoms[features[e]], values[e]
            for j in range(width):
                row[j] += s * a[j]
            e += 1


@numba.njit(cache=True, nogil=True, fastmath=True)
def row_sums(x: F32, rebuilt: F32, shift: F32, per_row: F64, per_column: F64) -> None:
    """The sums that reconstruction metrics are made of, in float64.

    `per_row[r]` is ||x - rebuilt||^2, ||x - shift||^2, x . rebuilt, ||x||^2, ||rebuilt||^2 of row r; x - shift is added
    to `per_column`.
    """
    n_rows, width = x.shape
    for r in range(n_rows):
        residual = squares = dot = norm = norm_rebuilt = 0.0
        for j in range(width):
            a, b = np.float64(x[r, j]), np.float64(rebuilt[r, j])
            centred = a - np.float64(shift[j])
            residual += (a - b) * (a - b)
            squares += centred * centred
            dot += a * b
            norm += a * a
            norm_rebuilt += b * b
            per_column[j] += centred
        per_row[r, 0] = residual
        per_row[r, 1] = squares
        per_row[r, 2] = dot
        per_row[r, 3] = norm
        per_row[r, 4] = norm_rebuilt


@numba.njit(cache=True, nogil=True)
def count_pairs(
    first: int,
    last: int,
    pointers: I64,
    rows: Rows,
    row_ptr: I64,
    features: I32,
    n_firing: I64,
    others: I64,
    n_both: I64,
    jaccard: F64,
    n_found: I64,
) -> None:
    """For each feature in first ... last - 1, the features that fire with it, best Jaccard index first.

    Visits exactly the pairs that fire together. Ties go to the lower feature.
    """
    n_features = n_firing.size
    together = np.zeros(n_features, np.int64)
    touched = np.empty(n_features, np.int64)
    for f in range(first, last):
        n_pairs = 0
        for p in range(pointers[f], pointers[f + 1]):
            n_pairs += row_ptr[rows[p] + 1] - row_ptr[rows[p]]
        if n_pairs > n_features:  # looking at every feature afterwards is cheaper than remembering which occurred
            for p in range(pointers[f], pointers[f + 1]):
                for e in range(row_ptr[rows[p]], row_ptr[rows[p] + 1]):
                    together[features[e]] += 1
            together[f] = 0
            for g in range(n_features):
                both = together[g]
                if both:
                    together[g] = 0
                    score = both / (n_firing[f] + n_firing[g] - both)
                    keep_best(f - first, g, both, score, others, n_both, jaccard, n_found)
            continue
        n_touched = 0
        for p in range(pointers[f], pointers[f + 1]):
            for e in range(row_ptr[rows[p]], row_ptr[rows[p] + 1]):
                g = features[e]
                if together[g] == 0:
                    touched[n_touched] = g
                    n_touched += 1
                together[g] += 1
        together[f] = 0
        for t in range(n_touched):
            g = touched[t]
            both = together[g]
            together[g] = 0
            if both:
                score = both / (n_firing[f] + n_firing[g] - both)
                keep_best(f - first, g, both, score, others, n_both, jaccard, n_found)


@numba.njit(cache=True, nogil=True, inline="always")
def bits_set(word: np.uint64) -> np.uint64:
    """Number of one bits, as compilers know to make one instruction of."""
    word = word - ((word >> _U(1)) & _U(0x5555555555555555))
    word = (word & _U(0x3333333333333333)) + ((word >> _U(2)) & _U(0x3333333333333333))
    word = (word + (word >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return (word * _U(0x0101010101010101)) >> _U(56)


@numba.njit(cache=True, nogil=True)
def set_bits(start: int, end: int, row_ptr: I64, features: I32, bits: U64) -> None:
    """Bit r - start of feature f's run of words is set where row r in start ... end - 1 fires f."""
    for r in range(start, end):
        word, bit = (r - start) >> 6, _U(1) << _U((r - start) & 63)
        for e in range(row_ptr[r], row_ptr[r + 1]):
            bits[features[e], word] |= bit


@numba.njit(cache=True, nogil=True)
def count_common_bits(first: int, last: int, bits: U64, counts: I64) -> None:
    """Add, for features first ... last - 1 and all features, the number of bits that both have set."""
    n_features, n_words = bits.shape
    for f in range(first, last):
        mine = bits[f]
        for g in range(n_features):
            other = bits[g]
            both = _U(0)
            for w in range(n_words):
                both += bits_set(mine[w] & other[w])
            counts[f - first, g] += both


@numba.njit(cache=True, nogil=True)
def best_of_counts(
    first: int, counts: I64, n_firing: I64, others: I64, n_both: I64, jaccard: F64, n_found: I64
) -> None:
    """As `count_pairs`, from a dense matrix: `counts[i, g]` positions where features first + i and g both fire."""
    for i in range(counts.shape[0]):
        f = first + i
        for g in range(counts.shape[1]):
            both = counts[i, g]
            if both and g != f:
                score = both / (n_firing[f] + n_firing[g] - both)
                keep_best(i, g, both, score, others, n_both, jaccard, n_found)


@numba.njit(cache=True, nogil=True)
def keep_best(i: int, g: int, both: int, score: float, others: I64, n_both: I64, jaccard: F64, n_found: I64) -> None:
    """Insert feature `g` into row i's list: larger score first, then the lower feature."""
    keep = others.shape[1]
    n = n_found[i]
    at = n
    if n == keep:
        at = keep - 1
        if jaccard[i, at] > score or (jaccard[i, at] == score and others[i, at] < g):
            return
    else:
        n_found[i] = n + 1
    while at > 0 and (jaccard[i, at - 1] < score or (jaccard[i, at - 1] == score and others[i, at - 1] > g)):
        jaccard[i, at] = jaccard[i, at - 1]
        others[i, at] = others[i, at - 1]
        n_both[i, at] = n_both[i, at - 1]
        at -= 1
    jaccard[i, at] = score
    others[i, at] = g
    n_both[i, at] = both


@numba.njit(cache=True, nogil=True)
def count_categories(
    pointers: I64, rows: Rows, row_item: I64, category: I64, n_categories: int, n_match: I64, n_items: I64
) -> None:
    """For each feature and category of the items: firings in it, and distinct items of it in which the feature fires.

    Rows of a feature ascend, and rows of an item are neighbours.
    """
    last = np.empty(n_categories, np.int64)
    for f in range(pointers.size - 1):
        last[:] = -1
        for p in range(pointers[f], pointers[f + 1]):
            item = row_item[rows[p]]
            c = category[item]
            if c >= 0:
                n_match[f, c] += 1
                if last[c] != item:
                    n_items[f, c] += 1
                    last[c] = item
