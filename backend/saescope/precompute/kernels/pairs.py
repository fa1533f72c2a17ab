"""Which features fire together."""

from __future__ import annotations

import numba
import numpy as np

from saescope.autoencoders.code_rows import CodeRows
from saescope.precompute.kernels.records import I64, U64, Partners, Postings

_U = np.uint64


@numba.njit(cache=True, nogil=True)
def pairs_within_rows(row_ptr: I64) -> float:
    """Sum over rows of the squared number of firings."""
    total = 0.0
    for r in range(row_ptr.size - 1):
        total += np.float64(row_ptr[r + 1] - row_ptr[r]) ** 2
    return total


@numba.njit(cache=True, nogil=True)
def count_pairs(first: int, last: int, postings: Postings, codes: CodeRows, n_firing: I64, partners: Partners) -> None:
    """For each feature in first ... last - 1, the features that fire with it, best Jaccard index first.

    Visits exactly the pairs that fire together. Ties go to the lower feature.
    """
    pointers, rows = postings
    row_ptr, features, _ = codes
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
                    keep_best(f - first, g, both, score, partners)
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
                keep_best(f - first, g, both, score, partners)


@numba.njit(cache=True, nogil=True, inline="always")
def bits_set(word: np.uint64) -> np.uint64:
    """Number of one bits, as compilers know to make one instruction of."""
    word = word - ((word >> _U(1)) & _U(0x5555555555555555))
    word = (word & _U(0x3333333333333333)) + ((word >> _U(2)) & _U(0x3333333333333333))
    word = (word + (word >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return (word * _U(0x0101010101010101)) >> _U(56)


@numba.njit(cache=True, nogil=True)
def set_bits(start: int, end: int, codes: CodeRows, bits: U64) -> None:
    """Bit r - start of feature f's run of words is set where row r in start ... end - 1 fires f."""
    row_ptr, features, _ = codes
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
def best_of_counts(first: int, counts: I64, n_firing: I64, partners: Partners) -> None:
    """As `count_pairs`, from a dense matrix: `counts[i, g]` positions where features first + i and g both fire."""
    for i in range(counts.shape[0]):
        f = first + i
        for g in range(counts.shape[1]):
            both = counts[i, g]
            if both and g != f:
                score = both / (n_firing[f] + n_firing[g] - both)
                keep_best(i, g, both, score, partners)


@numba.njit(cache=True, nogil=True)
def keep_best(i: int, g: int, both: int, score: float, partners: Partners) -> None:
    """Insert feature `g` into row i's list: larger score first, then the lower feature."""
    others, n_both, jaccard, n_found = partners
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
