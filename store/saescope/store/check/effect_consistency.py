"""What the table of effects must agree with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from saescope.store.check import columns
from saescope.store.check.columns import Problems
from saescope.store.format.manifest import Manifest
from saescope.store.format.schema import EFFECT_KINDS


def effects(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Of `effects`."""
    t = tables["effects"]
    feature, kind = columns.values(t, "feature_id").astype(np.int64), columns.values(t, "kind")
    outside = columns.outside(feature, manifest.n_features)
    yield from columns.broken_rows(outside, f"feature_id is not within 0 to {manifest.n_features - 1}")
    yield from columns.broken_rows(~np.isin(kind, EFFECT_KINDS), f"kind is none of {', '.join(EFFECT_KINDS)}")
    lengths, flat = columns.lists(t, "values")
    yield from columns.broken_rows(lengths != manifest.d_out, f"values has not the {manifest.d_out} of the output")
    if not np.isfinite(flat).all():
        yield "values are not finite"
    for name, present in (("item_id", kind == "item"), ("position", kind == "item"), ("step", kind != "jacobian")):
        valid = t[name].is_valid().combine_chunks().to_numpy(zero_copy_only=False)
        yield from columns.broken_rows(valid != present, f"{name} is null where it should not be, or not null")
    yield from columns.broken_rows(columns.values(t, "step", 1.0) <= 0, "step is not above 0")
    item = columns.values(t, "item_id", -1)
    if "items" in tables:
        known = columns.values(tables["items"], "item_id")
        yield from columns.broken_rows((kind == "item") & ~np.isin(item, known), "item_id is not in items")
    every = np.arange(manifest.n_features)
    live = every
    if "features" in tables and tables["features"].num_rows == manifest.n_features:
        live = np.flatnonzero(columns.values(tables["features"], "n_firing") > 0)
    for name in EFFECT_KINDS:
        if not np.array_equal(feature[kind == name], live if name == "item" else every):
            yield f"the rows of kind {name} are not those of all " + ("live " if name == "item" else "") + "features"
