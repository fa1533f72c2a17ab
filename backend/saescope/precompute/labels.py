"""Labels that write themselves, from what is known of the items in which a feature fires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64

from saescope.precompute import kernels
from saescope.precompute.spill import Postings

MIN_FIRINGS = 20
"""A feature with fewer firings gets no label."""
MIN_ITEMS = 20
"""A label needs the feature to fire in as many items that it describes."""
MIN_LIFT = 2.0
"""A label's precision is at least this many times its base rate."""
MAX_CATEGORIES = 1000
"""A column with more distinct values is not a set of labels."""


@dataclass(frozen=True)
class Labels:
    """One per feature; where `text` is None the numbers are NaN."""

    text: list[str | None]
    precision: Float64[np.ndarray, " feature"]
    recall: Float64[np.ndarray, " feature"]
    base_rate: Float64[np.ndarray, " feature"]


def label_features(
    metadata: Mapping[str, Any],
    words: Mapping[str, str],
    row_items: Int64[np.ndarray, " row"],
    postings: Postings,
    n_firing: Int64[np.ndarray, " feature"],
) -> Labels:
    """The best label of each feature: "WORD VALUE: precision, recall, base rate", counted over positions.

    `metadata` maps a column to one value per item, `words` a column to the word that stands before its value (default:
    the column's name). Candidates need `MIN_ITEMS` and `MIN_LIFT`; the one whose precision has the largest Wilson lower
    bound wins, ties going to the first column and value.
    """
    n_features, n_rows = len(n_firing), len(row_items)
    best = np.full(n_features, -1.0)
    precision, recall, base = (np.full(n_features, np.nan) for _ in range(3))
    text: list[str | None] = [None] * n_features
    for column, values in metadata.items():
        names, codes = _categories(values)
        if not 2 <= len(names) <= MAX_CATEGORIES:
            continue
        n_category = np.zeros(len(names), np.int64)
        kernels.rows_of_categories(row_items, codes, n_category)
        n_match = np.zeros((n_features, len(names)), np.int64)
        n_items = np.zeros_like(n_match)
        kernels.count_categories(postings.pointers, postings.rows, row_items, codes, len(names), n_match, n_items)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = n_match / n_firing[:, None]
            fits = (n_firing >= MIN_FIRINGS)[:, None] & (n_items >= MIN_ITEMS) & (p >= MIN_LIFT * n_category / n_rows)
            score = np.where(fits, wilson_lower(n_match, n_firing[:, None]), -1.0)
        choice = score.argmax(axis=1)
        for f in np.flatnonzero(score[np.arange(n_features), choice] > best):
            c = choice[f]
            best[f] = score[f, c]
            precision[f], recall[f], base[f] = p[f, c], n_match[f, c] / n_category[c], n_category[c] / n_rows
            text[f] = (
                f"{words.get(column, column)} {names[c]}: {percent(precision[f])} of firings, "
                f"recall {percent(recall[f])}, base rate {percent(base[f])}"
            )
    return Labels(text, precision, recall, base)


def wilson_lower(successes: Any, trials: Any, z: float = 1.959964) -> Any:
    """Lower bound of the 95 % score interval of a proportion (Wilson 1927, equation 2). Arrays broadcast."""
    p = successes / trials
    centre = p + z * z / (2 * trials)
    spread = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return (centre - spread) / (1 + z * z / trials)


def percent(fraction: float) -> str:
    """A share for people: "93 %", "0.4 %", "< 0.1 %"; never rounded up to 100 %."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "< 0.1 %"
    if value < 10 and round(value, 1) != round(value):
        return f"{value:.1f} %"
    if 99.5 <= value < 100:
        return "> 99 %"
    return f"{value:.0f} %"


def _categories(values: Any) -> tuple[list[str], Int64[np.ndarray, " n_items"]]:
    """Distinct values as text, and the index of each item's (-1 where unknown). Only strings, booleans and integers
    are categories."""
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
    ):
        return [], np.empty(0, np.int64)
    names = pc.unique(array.drop_null()).sort()
    codes = pc.fill_null(pc.index_in(array, names), -1)
    return [str(name) for name in names.to_pylist()], codes.to_numpy(zero_copy_only=False).astype(np.int64)
