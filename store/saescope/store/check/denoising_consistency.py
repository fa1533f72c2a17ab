"""What the tables of denoised items must agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from saescope.store.check import columns
from saescope.store.check.columns import Array, Problems
from saescope.store.format.manifest import Manifest
from saescope.store.format.source import PixelDescription, read_source


def items(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Of `denoising`."""
    t = tables["denoising"]
    if "items" in tables:
        known = columns.values(tables["items"], "item_id")
        yield from columns.broken_rows(~np.isin(columns.values(t, "item_id"), known), "item_id is not in items")
    source = read_source(manifest.source)
    if isinstance(source, PixelDescription):
        size = math.prod(source.input_shape)
        lengths, _ = columns.lists(t, "values")
        yield from columns.broken_rows(lengths != size, f"values has not the {size} values of input_shape")
    yield from _levels_and_scores(t)
    keys = columns.values(t, "item_id"), columns.values(t, "level")
    yield from _corrupted(t, columns.first_of_group(*keys))


def means(tables: Mapping[str, pa.Table], manifest: Manifest) -> Problems:
    """Of `denoising_metrics`."""
    t = tables["denoising_metrics"]
    yield from columns.broken_rows(columns.values(t, "n_items") < 1, "n_items is below 1")
    yield from _levels_and_scores(t)
    yield from _corrupted(t, columns.first_of_group(columns.values(t, "level")))


def _levels_and_scores(t: pa.Table) -> Problems:
    yield from columns.broken_rows(columns.values(t, "level") < 0, "level is negative")
    yield from columns.broken_rows(np.abs(columns.values(t, "ssim", 0.0)) > 1 + 1e-9, "ssim is not within -1 to 1")


def _corrupted(t: pa.Table, first: Array) -> Problems:
    """Each group of rows, of which `first` begin one, shows what was denoised."""
    group = np.cumsum(first) - 1
    shown = np.unique(group[columns.values(t, "method") == "corrupted"])
    yield from columns.broken_rows(first & ~np.isin(group, shown), "a level has no corrupted item")
