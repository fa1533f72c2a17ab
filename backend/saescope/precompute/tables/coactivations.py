"""Which features fire together: exact counts over all pairs of features, after the pass, from the spilled firings."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from saescope.precompute import kernels
from saescope.precompute.kernels.records import Partners, Postings
from saescope.precompute.one_pass.spill import Spill
from saescope.progress import SILENT, Progress
from saescope.store.format.schema import schema_of

PAIR_COST = 4.0
"""Counting one pair costs about as much as comparing this many words of 64 positions (measured on x86)."""
WORDS = 1024
"""Words of 64 positions compared at a time: a feature's share stays in the fastest cache."""
COUNT_BYTES = 2**26
"""Most memory for dense counts at a time, per thread."""


def coactivations(
    spill: Spill,
    postings: Postings,
    n_firing: Int64[np.ndarray, " feature"],
    n_kept: int = 10,
    progress: Progress = SILENT,
) -> pa.Table:
    """The store's `coactivations`: for each feature the `n_kept` others with the largest Jaccard index.

    Sparse codes are counted pair by pair, in time proportional to the pairs that occur; where codes are so dense that
    comparing bit sets of positions is cheaper, that way. Both are exact.
    """
    n_features = len(n_firing)
    n_pairs = kernels.pairs_within_rows(spill.codes.row_ptr)
    dense = n_pairs * PAIR_COST > spill.n_rows / 64 * float(n_features) ** 2
    at_once = max(1, min(4096, -(-n_features // 8), COUNT_BYTES // (8 * n_features)))
    starts = range(0, n_features, at_once)
    found: list[Partners] = []
    count = _dense_counts if dense else _sparse_counts

    def part(first: int) -> Partners:
        return count(spill, postings, n_firing, first, min(first + at_once, n_features), n_kept)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for i, result in enumerate(pool.map(part, starts)):
            found.append(result)
            progress.update("co-activations", min((i + 1) * at_once, n_features), n_features)
    partners = Partners(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    kept = np.arange(n_kept) < partners.n[:, None]
    return pa.table(
        {
            "feature_id": np.repeat(np.arange(n_features, dtype=np.int32), partners.n),
            "rank": np.nonzero(kept)[1].astype(np.int16),
            "other_id": partners.other[kept].astype(np.int32),
            "n_both": partners.n_both[kept],
            "jaccard": partners.jaccard[kept],
        },
        schema_of("coactivations"),
    )


def _no_partners(n: int, n_kept: int) -> Partners:
    return Partners(
        other=np.zeros((n, n_kept), np.int64),
        n_both=np.zeros((n, n_kept), np.int64),
        jaccard=np.zeros((n, n_kept), np.float64),
        n=np.zeros(n, np.int64),
    )


def _sparse_counts(
    spill: Spill, postings: Postings, n_firing: np.ndarray, first: int, last: int, n_kept: int
) -> Partners:
    partners = _no_partners(last - first, n_kept)
    kernels.count_pairs(first, last, postings, spill.codes, n_firing, partners)
    return partners


def _dense_counts(
    spill: Spill, postings: Postings, n_firing: np.ndarray, first: int, last: int, n_kept: int
) -> Partners:
    """By bit sets, `WORDS` words of every feature at a time."""
    counts = np.zeros((last - first, len(n_firing)), np.int64)
    for start in range(0, spill.n_rows, 64 * WORDS):
        end = min(start + 64 * WORDS, spill.n_rows)
        bits = np.zeros((len(n_firing), -(-(end - start) // 64)), np.uint64)
        kernels.set_bits(start, end, spill.codes, bits)
        kernels.count_common_bits(first, last, bits, counts)
    partners = _no_partners(last - first, n_kept)
    kernels.best_of_counts(first, counts, n_firing, partners)
    return partners
