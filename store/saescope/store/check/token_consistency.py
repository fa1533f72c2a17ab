"""What the tables of a source of texts must say: tokens of items, tokens that fire features, effects on logits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from saescope.store.check import columns
from saescope.store.check.columns import Problems
from saescope.store.format.manifest import Manifest


def items(t: pa.Table) -> Problems:
    """Each token has its text."""
    texts, ids = t["tokens"].combine_chunks(), t["token_ids"].combine_chunks()
    if not t.num_rows or texts.null_count == t.num_rows:
        return
    n_texts = texts.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    n_ids = ids.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
    yield from columns.broken_rows(n_texts != n_ids, "token_ids and tokens differ in length")


def places(examples: pa.Table, items: pa.Table) -> Problems:
    """Examples and their windows lie inside their items' tokens."""
    tokens = items["tokens"].combine_chunks()
    if not items.num_rows or not examples.num_rows or tokens.null_count == items.num_rows:
        return
    n_tokens = tokens.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    known, item = columns.values(items, "item_id"), columns.values(examples, "item_id")
    at = np.minimum(np.searchsorted(known, item), len(known) - 1)
    found = known[at] == item
    room = n_tokens[at]
    position = columns.values(examples, "position").astype(np.int64)
    yield from columns.broken_rows(found & (position >= room), "position is behind the item's last token")
    lengths, _ = columns.lists(examples, "window_activations")
    stop = columns.values(examples, "window_start", 0).astype(np.int64) + lengths
    yield from columns.broken_rows(found & (stop > room), "the window is longer than the item")


def top_tokens(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Counts that are possible, and a lift that follows from them."""
    t = tables["top_tokens"]
    feature, rank = columns.values(t, "feature_id").astype(np.int64), columns.values(t, "rank").astype(np.int64)
    token = columns.values(t, "token_id").astype(np.int64)
    n, of = columns.values(t, "n_firing"), columns.values(t, "n_token")
    outside = columns.outside(feature, manifest.n_features)
    yield from columns.broken_rows(outside, f"feature_id is not within 0 to {manifest.n_features - 1}")
    first = columns.first_of_group(feature)
    yield from columns.broken_rows(rank != columns.place_in_group(first), "ranks do not count from 0")
    rises = np.concatenate([[False], ~first[1:] & (n[1:] > n[:-1])]) if len(t) else first
    yield from columns.broken_rows(rises, "n_firing rises with the rank")
    if len(np.unique(np.stack([feature, token]), axis=1).T) != len(t):
        yield "a feature lists a token twice"
    possible = (n >= 1) & (n <= of) & (of <= manifest.n_positions)
    yield from columns.broken_rows(~possible, "n_firing or n_token is not possible")
    if "features" in tables and not outside.any() and tables["features"].num_rows == manifest.n_features:
        fired = columns.values(tables["features"], "n_firing")
        listed = np.bincount(feature, n, manifest.n_features)
        over = np.isin(feature, np.flatnonzero(listed > fired))
        yield from columns.broken_rows(over, "more firings on tokens than the feature has")
        lift = (n / np.maximum(fired[feature], 1)) / (np.maximum(of, 1) / max(manifest.n_positions, 1))
        near = np.isclose(columns.values(t, "lift"), lift, rtol=1e-6)
        yield from columns.broken_rows(~near, "lift does not follow from the counts")


def top_logits(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Signs, and effects that get weaker with the rank."""
    t = tables["top_logits"]
    feature, rank = columns.values(t, "feature_id").astype(np.int64), columns.values(t, "rank").astype(np.int64)
    sign, logit = columns.values(t, "sign").astype(np.int64), columns.values(t, "logit")
    outside = columns.outside(feature, manifest.n_features)
    yield from columns.broken_rows(outside, f"feature_id is not within 0 to {manifest.n_features - 1}")
    yield from columns.broken_rows(np.abs(sign) != 1, "sign is neither +1 nor -1")
    first = columns.first_of_group(feature, sign)
    yield from columns.broken_rows(rank != columns.place_in_group(first), "ranks do not count from 0")
    effect = logit * sign
    stronger = np.concatenate([[False], ~first[1:] & (effect[1:] > effect[:-1])]) if len(t) else first
    yield from columns.broken_rows(stronger, "logit is stronger than that of the rank before")
