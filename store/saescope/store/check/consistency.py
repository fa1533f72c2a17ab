"""What the tables of one version must say about themselves and each other. Yields (file, problem), never raises.

Each check names how many rows break it. A table with the wrong columns is not checked further.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa

from saescope.store.check import (
    columns,
    denoising_consistency,
    effect_consistency,
    latent_consistency,
    token_consistency,
)
from saescope.store.check.columns import Array, Problems
from saescope.store.format.manifest import Manifest
from saescope.store.format.schema import TABLES
from saescope.store.format.source import PixelDescription, read_source
from saescope.store.format.tables import order_faults, sort_keys
from saescope.store.format.thresholds import DENSE_DENSITY


def table_faults(tables: Mapping[str, pa.Table], manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Every fault of `tables` (those that could be read)."""
    sound: dict[str, pa.Table] = {}
    for name, table in tables.items():
        problems = list(_schema_problems(name, table))
        problems += [] if problems else _order_problems(name, table)
        yield from ((f"{name}.parquet", p) for p in problems)
        if not problems:
            sound[name] = table
    for name, check in _CHECKS.items():
        if name in sound:
            yield from ((f"{name}.parquet", p) for p in check(sound, manifest))
    edges = manifest.histogram_edges
    if len(edges) < 2 or edges[0] != 0 or any(a >= b for a, b in pairwise(edges)):
        yield "manifest.json", "histogram_edges must ascend from 0"


def _schema_problems(name: str, table: pa.Table) -> Problems:
    spec = TABLES[name]
    repeated = sorted(n for n, count in Counter(table.column_names).items() if count > 1)
    if repeated:
        yield f"columns that stand in it more than once: {', '.join(repeated)}"
        return
    found = {f.name: f.type for f in table.schema}
    for column in spec.columns:
        if column.name not in found:
            yield f"column {column.name} is missing"
        elif found[column.name] != column.type:
            yield f"column {column.name} is {found[column.name]}, expected {column.type}"
        elif table[column.name].null_count and not column.nullable:
            yield f"column {column.name} has {table[column.name].null_count} nulls"
        elif pa.types.is_floating(column.type) and (
            n := int((~np.isfinite(columns.values(table, column.name, 0.0))).sum())
        ):
            yield f"column {column.name} has {n} values that are not finite"
    extra = sorted(found.keys() - {c.name for c in spec.columns})
    if extra and not spec.open:
        yield f"unknown columns {', '.join(extra)}"
    for name in extra:
        if pa.types.is_floating(found[name]) and (n := int(np.isinf(columns.values(table, name, 0.0)).sum())):
            yield f"column {name} has {n} values that are infinite"


def _order_problems(name: str, table: pa.Table) -> list[str]:
    unsorted, repeated = order_faults(sort_keys(name, table))
    key = ", ".join(TABLES[name].sorted_by)
    problems = [f"{unsorted} rows are not sorted by {key}"] if unsorted else []
    return problems + ([f"{repeated} rows repeat the key {key}"] if repeated else [])


def _features(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    t = tables["features"]
    if t.num_rows != manifest.n_features:
        yield f"has {t.num_rows} rows, the manifest says {manifest.n_features} features"
    ids, n = columns.values(t, "feature_id"), columns.values(t, "n_firing")
    density = columns.values(t, "density")
    yield from columns.broken_rows(ids != np.arange(len(ids)), "feature_id is not the row's number")
    yield from columns.broken_rows(
        (n < 0) | (n > manifest.n_positions), f"n_firing is not within 0 to {manifest.n_positions}"
    )
    yield from columns.broken_rows(
        ~np.isclose(density, n / max(manifest.n_positions, 1), rtol=1e-12, atol=0), "density != n_firing / N"
    )
    yield from columns.broken_rows(columns.values(t, "is_dead") != (n == 0), "is_dead contradicts n_firing")
    dense = density > DENSE_DENSITY
    yield from columns.broken_rows(columns.values(t, "is_dense") != dense, "is_dense contradicts density")
    for name in ("mean_activation", "std_activation", "max_activation"):
        null = t[name].is_null().combine_chunks().to_numpy(zero_copy_only=False)
        yield from columns.broken_rows(null != (n == 0), f"{name} must be null for dead features alone")
    yield from columns.broken_rows(columns.values(t, "std_activation", 0.0) < 0, "std_activation is negative")
    strongest = np.abs(columns.values(t, "max_activation", 0.0))
    yield from columns.broken_rows(
        (n > 0) & (strongest <= manifest.firing_threshold), "max_activation is not above the threshold"
    )
    mean = np.abs(columns.values(t, "mean_activation", 0.0))
    yield from columns.broken_rows(mean > strongest * (1 + 1e-6), "mean_activation exceeds max_activation")
    bins, counts = columns.lists(t, "hist_counts")
    yield from columns.broken_rows(
        bins != len(manifest.histogram_edges) - 1, "hist_counts does not fit the manifest's edges"
    )
    yield from columns.broken_rows(columns.sums(bins, counts) != n, "hist_counts does not sum to n_firing")
    if (counts < 0).any():
        yield "hist_counts has negative counts"
    intervals, lower = columns.lists(t, "interval_lower")
    of_intervals, counts = columns.lists(t, "interval_counts")
    yield from columns.broken_rows(intervals != of_intervals, "interval_lower and interval_counts differ in length")
    yield from columns.broken_rows(columns.sums(of_intervals, counts) != n, "interval_counts does not sum to n_firing")
    rows = np.repeat(np.arange(len(intervals)), intervals)
    rising = (rows[1:] == rows[:-1]) & (lower[1:] >= lower[:-1])
    yield from columns.broken_rows(np.isin(np.arange(len(ids)), rows[1:][rising]), "interval_lower does not descend")
    if manifest.n_metric_positions == manifest.n_positions and manifest.n_positions:
        for name, value in (
            ("n_dead", float((n == 0).sum())),
            ("n_dense", float(dense.sum())),
            ("l0", float(n.sum() / manifest.n_positions)),
        ):
            stated = manifest.metrics.get(name)
            if stated is not None and not np.isclose(stated, value, rtol=1e-6):
                yield f"gives {name} = {value:g}, the manifest says {stated:g}"


def _examples(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    t = tables["examples"]
    feature, rank = columns.values(t, "feature_id").astype(np.int64), columns.values(t, "rank").astype(np.int64)
    top = columns.values(t, "kind") == "top"
    interval = columns.values(t, "interval", -1).astype(np.int64)
    item, position = columns.values(t, "item_id"), columns.values(t, "position").astype(np.int64)
    value = columns.values(t, "activation")
    outside = columns.outside(feature, manifest.n_features)
    yield from columns.broken_rows(outside, f"feature_id is not within 0 to {manifest.n_features - 1}")
    yield from columns.broken_rows(~top & (columns.values(t, "kind") != "interval"), "kind is neither top nor interval")
    yield from columns.broken_rows(
        top == t["interval"].is_valid().combine_chunks().to_numpy(zero_copy_only=False),
        "interval must be null for top alone",
    )
    yield from _places(position, manifest)
    yield from columns.broken_rows(
        np.abs(value) <= manifest.firing_threshold, "activation is not above the firing threshold"
    )
    first = columns.first_of_group(feature, top, interval)
    yield from columns.broken_rows(rank != columns.place_in_group(first), "ranks do not count from 0")
    weaker = np.concatenate([[False], ~first[1:] & (np.abs(value[1:]) > np.abs(value[:-1]))]) if len(t) else first
    yield from columns.broken_rows(weaker, "activation is stronger than that of the rank before")
    pairs = np.stack([feature[top], item[top]])
    if pairs.shape[1] != np.unique(pairs, axis=1).shape[1]:
        yield "kind top has an item twice for one feature"
    if "items" in tables:
        yield from columns.broken_rows(
            ~np.isin(item, columns.values(tables["items"], "item_id")), "item_id is not in items"
        )
    yield from _windows(t, position, value)
    if "items" in tables:
        yield from token_consistency.places(t, tables["items"])
    if "features" in tables and not outside.any() and tables["features"].num_rows == manifest.n_features:
        yield from _examples_of_features(tables["features"], feature, top, interval, rank, value)


def _places(position: Array, manifest: Manifest) -> Problems:
    """Positions that no item has."""
    yield from columns.broken_rows(position < 0, "position is negative")
    most = read_source(manifest.source).positions_per_item
    if most is not None:
        yield from columns.broken_rows(position >= most, f"position is behind an item's last, {most - 1}")


def _windows(t: pa.Table, position: Array, value: Array) -> Problems:
    lengths, flat = columns.lists(t, "window_activations")
    start = columns.values(t, "window_start", -1).astype(np.int64)
    have = lengths > 0
    yield from columns.broken_rows(have != (start >= 0), "window_start and window_activations must be null together")
    place = position - start
    inside = have & (place >= 0) & (place < lengths)
    yield from columns.broken_rows(have & ~inside, "position is outside the window")
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(t) else lengths
    at = (offsets + place)[inside]
    near = np.isclose(flat[at], value[inside], rtol=1e-4, atol=1e-6)  # windows may be encoded in other batches
    yield from columns.broken_rows(~near, "window_activations differs from activation at its position")


def _examples_of_features(
    features: pa.Table, feature: Array, top: Array, interval: Array, rank: Array, value: Array
) -> Problems:
    n = columns.values(features, "n_firing")
    yield from columns.broken_rows(n[feature] == 0, "an example of a dead feature")
    strongest = np.abs(columns.values(features, "max_activation", 0.0))
    yield from columns.broken_rows(np.abs(value) > strongest[feature], "activation exceeds max_activation")
    best = top & (rank == 0)
    yield from columns.broken_rows(
        best & (np.abs(value) != strongest[feature]), "the top example is not max_activation"
    )
    if int(best.sum()) != int((n > 0).sum()):
        yield f"{int(best.sum())} features have top examples, {int((n > 0).sum())} are alive"
    lengths, lower = columns.lists(features, "interval_lower")
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    sampled = ~top
    unknown = sampled & columns.outside(interval, lengths[feature])
    yield from columns.broken_rows(unknown, "interval is not one of the feature's")
    rows = np.flatnonzero(sampled & ~unknown)
    low = lower[offsets[feature[rows]] + interval[rows]]
    above = np.where(interval[rows] > 0, lower[np.maximum(offsets[feature[rows]] + interval[rows] - 1, 0)], np.inf)
    strength = np.abs(value[rows])
    last = interval[rows] == lengths[feature[rows]] - 1  # its lower bound is the threshold itself
    yield from columns.broken_rows(
        ((strength < low) & ~last) | (strength >= above), "a sampled activation is outside its interval"
    )


def _items(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    ids = columns.values(tables["items"], "item_id")
    n = read_source(manifest.source).n_items
    if n is not None:
        yield from columns.broken_rows(columns.outside(ids, n), f"item_id is not within 0 to {n - 1}")
    yield from token_consistency.items(tables["items"])


def _pairs(name: str, other: str, score: str) -> Callable[[Mapping[str, pa.Table], Manifest], Problems]:
    """Checks of a table that lists other features by rank."""

    def check(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
        t = tables[name]
        feature, rank = columns.values(t, "feature_id").astype(np.int64), columns.values(t, "rank").astype(np.int64)
        others, scores = columns.values(t, other).astype(np.int64), columns.values(t, score)
        outside = columns.outside(feature, manifest.n_features) | columns.outside(others, manifest.n_features)
        yield from columns.broken_rows(outside, f"a feature is not within 0 to {manifest.n_features - 1}")
        yield from columns.broken_rows(feature == others, "a feature is paired with itself")
        first = columns.first_of_group(feature)
        yield from columns.broken_rows(rank != columns.place_in_group(first), "ranks do not count from 0")
        yield from columns.broken_rows(~first[1:] & (scores[1:] > scores[:-1]), f"{score} rises with the rank")
        if name == "neighbours":
            yield from columns.broken_rows(np.abs(scores) > 1 + 1e-5, "cosine is not within -1 to 1")
        elif "features" in tables and not outside.any() and tables["features"].num_rows == manifest.n_features:
            n = columns.values(tables["features"], "n_firing")
            both = columns.values(t, "n_both")
            yield from columns.broken_rows(
                (both < 1) | (both > np.minimum(n[feature], n[others])), "n_both is not possible"
            )
            union = np.maximum(n[feature] + n[others] - both, 1)
            yield from columns.broken_rows(
                ~np.isclose(scores, both / union, rtol=1e-9), "jaccard is not n_both / either"
            )

    return check


def _item_codes(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    t = tables["item_codes"]
    n_ids, ids = columns.lists(t, "feature_ids")
    n_values, values = columns.lists(t, "activations")
    yield from columns.broken_rows(n_ids != n_values, "feature_ids and activations differ in length")
    if columns.outside(ids, manifest.n_features).any():
        yield f"feature_ids are not within 0 to {manifest.n_features - 1}"
    if (np.abs(values) <= manifest.firing_threshold).any():
        yield "activations are not above the firing threshold"
    yield from _places(columns.values(t, "position").astype(np.int64), manifest)
    yield from _known_items(tables, "item_codes")


def _known_items(tables: Mapping[str, pa.Table], name: str) -> Problems:
    if "items" in tables:
        known = columns.values(tables["items"], "item_id")
        yield from columns.broken_rows(
            ~np.isin(columns.values(tables[name], "item_id"), known), "item_id is not in items"
        )


def _reconstructions(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    yield from _known_items(tables, "reconstructions")
    lengths, _ = columns.lists(tables["reconstructions"], "reconstruction")
    source = read_source(manifest.source)
    if isinstance(source, PixelDescription):
        size = math.prod(source.input_shape)
        yield from columns.broken_rows(lengths != size, f"reconstruction has not the {size} values of input_shape")


def _latent_map(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    t = tables["latent_map"]
    lengths, flat = columns.lists(t, "values")
    yield from columns.broken_rows(
        lengths != manifest.n_features, f"values has not the {manifest.n_features} of the code"
    )
    if not np.isfinite(flat).all():
        yield "values are not finite"
    yield from _places(columns.values(t, "position").astype(np.int64), manifest)
    yield from _known_items(tables, "latent_map")


def _metrics(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    rows = {row["name"]: row["value"] for row in tables["metrics"].to_pylist()}
    for name in sorted(rows.keys() | manifest.metrics.keys()):
        table, stated = rows.get(name), manifest.metrics.get(name)
        if (name in rows) != (name in manifest.metrics) or table != stated:
            yield f"{name} is {table}, the manifest says {stated}"


_CHECKS: dict[str, Callable[[Mapping[str, pa.Table], Manifest], Problems]] = {
    "features": _features,
    "examples": _examples,
    "items": _items,
    "top_logits": token_consistency.top_logits,
    "top_tokens": token_consistency.top_tokens,
    "neighbours": _pairs("neighbours", "neighbour_id", "cosine"),
    "effects": effect_consistency.effects,
    "latents": latent_consistency.latents,
    "generated": latent_consistency.generated,
    "coactivations": _pairs("coactivations", "other_id", "jaccard"),
    "item_codes": _item_codes,
    "latent_map": _latent_map,
    "reconstructions": _reconstructions,
    "denoising": denoising_consistency.items,
    "denoising_metrics": denoising_consistency.means,
    "metrics": _metrics,
}
