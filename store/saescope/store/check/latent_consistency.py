"""What the tables of variational autoencoders must agree with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from saescope.store.check import columns
from saescope.store.check.columns import Problems
from saescope.store.format.manifest import Manifest
from saescope.store.format.schema import GENERATED_KINDS


def latents(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Of `latents`."""
    t = tables["latents"]
    if not np.array_equal(columns.values(t, "feature_id"), np.arange(manifest.n_features)):
        yield f"the rows are not those of features 0 to {manifest.n_features - 1}"
    yield from columns.broken_rows(columns.values(t, "kl") < -1e-6, "kl is negative")
    yield from columns.broken_rows(columns.values(t, "variance_of_mean") < 0, "variance_of_mean is negative")


def generated(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Of `generated`."""
    t = tables["generated"]
    kind = columns.values(t, "kind")
    yield from columns.broken_rows(~np.isin(kind, GENERATED_KINDS), f"kind is none of {', '.join(GENERATED_KINDS)}")
    traversal = np.isin(kind, ("traversal_item", "traversal_mean"))
    mixed = kind == "interpolation"
    for name, present in (
        ("feature_id", traversal),
        ("item_id", mixed | (kind == "traversal_item")),
        ("other_item_id", mixed),
        ("coordinate", traversal | mixed),
    ):
        valid = t[name].is_valid().combine_chunks().to_numpy(zero_copy_only=False)
        yield from columns.broken_rows(valid != present, f"{name} is null where it should not be, or not null")
    feature = columns.values(t, "feature_id", 0)
    outside = columns.outside(feature.astype(np.int64), manifest.n_features)
    yield from columns.broken_rows(outside, f"feature_id is not within 0 to {manifest.n_features - 1}")
    lengths, flat = columns.lists(t, "values")
    yield from columns.broken_rows(lengths != manifest.d_out, f"values has not the {manifest.d_out} of the output")
    if not np.isfinite(flat).all():
        yield "values are not finite"
    if "items" in tables:
        known = columns.values(tables["items"], "item_id")
        for name in ("item_id", "other_item_id"):
            item = columns.values(t, name, -1)
            yield from columns.broken_rows((item >= 0) & ~np.isin(item, known), f"{name} is not in items")
