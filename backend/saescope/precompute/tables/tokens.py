"""On which tokens each feature fires, counted after the pass from the spilled firings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Int64

from saescope.precompute import kernels
from saescope.precompute.kernels.records import LabelRule, Postings, TopTokens
from saescope.precompute.one_pass.spill import Spill
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import TokenSource
from saescope.store.format.schema import schema_of
from saescope.store.format.thresholds import LABEL_MIN_ITEMS, LABEL_MIN_LIFT

ROWS_AT_ONCE = 2**16
FEATURES_AT_ONCE = 1024
"""Features counted between two reports, per thread."""


@dataclass(frozen=True)
class TokenCounts:
    """The most frequent tokens of each feature, most firings first; of equal ones, the lower token."""

    top: TopTokens
    n_token: Int64[np.ndarray, " vocab"]
    """Evaluated positions with each token."""


def row_tokens(spill: Spill, source: TokenSource) -> Int32[np.ndarray, " row"]:
    """The token at each row of the pass, in one more file beside the spill's."""
    if not spill.n_rows:
        return np.empty(0, np.int32)
    tokens = np.memmap(spill.folder / "tokens", np.int32, mode="w+", shape=spill.n_rows)
    for start in range(0, spill.n_rows, ROWS_AT_ONCE):
        piece = slice(start, start + ROWS_AT_ONCE)
        tokens[piece] = source.token_ids(np.asarray(spill.items[piece]), spill.positions[piece].astype(np.int64))
    return tokens


def count_tokens(
    spill: Spill, postings: Postings, source: TokenSource, n_kept: int = 20, progress: Progress = SILENT
) -> TokenCounts:
    """The `n_kept` tokens on which each feature fires most often, exactly.

    Memory follows the number of features and the vocabulary; the corpus is read through memory maps.
    """
    n_features = len(postings.pointers) - 1
    tokens = row_tokens(spill, source)
    n_token = np.zeros(len(source.vocabulary), np.int64)
    for start in range(0, len(tokens), ROWS_AT_ONCE):
        n_token += np.bincount(tokens[start : start + ROWS_AT_ONCE], minlength=len(n_token))
    values = spill.values_by_feature(postings)
    top = TopTokens(
        n=np.zeros(n_features, np.int64),
        token=np.zeros((n_features, n_kept), np.int32),
        n_firing=np.zeros((n_features, n_kept), np.int64),
        total=np.zeros((n_features, n_kept), np.float64),
        label_token=np.full(n_features, -1, np.int64),
        label_firing=np.zeros(n_features, np.int64),
    )
    rule = LabelRule(LABEL_MIN_ITEMS, LABEL_MIN_LIFT)

    def part(first: int) -> None:
        last = min(first + FEATURES_AT_ONCE, n_features)
        found = TopTokens(*(array[first:last] for array in top))
        kernels.count_tokens(first, last, postings, values, tokens, spill.items, n_token, rule, found)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for i, _ in enumerate(pool.map(part, range(0, n_features, FEATURES_AT_ONCE))):
            progress.update("tokens", min((i + 1) * FEATURES_AT_ONCE, n_features), n_features)
    return TokenCounts(top, n_token)


def top_tokens(
    counts: TokenCounts,
    n_firing: Int64[np.ndarray, " feature"],
    n_positions: int,
    vocabulary: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    """The store's `top_tokens`. `n_firing` is that of the features, over all `n_positions`."""
    texts, top = pa.array(vocabulary, pa.string()), counts.top
    for first in range(0, len(n_firing), FEATURES_AT_ONCE):
        piece = slice(first, first + FEATURES_AT_ONCE)
        kept = np.arange(top.token.shape[1]) < top.n[piece, None]
        feature, rank = np.nonzero(kept)
        token, firings, total = (a[piece][kept] for a in (top.token, top.n_firing, top.total))
        n_token = counts.n_token[token]
        yield pa.RecordBatch.from_pydict(
            {
                "feature_id": (first + feature).astype(np.int32),
                "rank": rank.astype(np.int16),
                "token_id": token,
                "token": texts.take(pa.array(token)),
                "n_firing": firings,
                "mean_activation": total / firings,
                "n_token": n_token,
                "lift": (firings / n_firing[piece][feature]) / (n_token / n_positions),
            },
            schema_of("top_tokens"),
        )
