"""How much a few features tell about items: sparse probing (Gurnee et al. 2023) on a column of metadata.

* An item's code is, for each feature, the value of largest |f| over its positions, firings only (0 where it does not
  fire).
* The column's most frequent values are probed one by one, each against all other items whose value is known.
* One half of the items, chosen by a seeded hash (whole documents of texts), is for training: it chooses the k features
  whose mean code differs most between the value and the rest, and fits a logistic regression on them, standardised,
  with an L2 penalty of C = 1. The other half gives the area under the ROC curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from saescope.autoencoders.code_rows import CodeRows
from saescope.metrics.logistic import fit_logistic
from saescope.metrics.registry import Over, register
from saescope.progress import SILENT, Progress
from saescope.sources.categories import categories
from saescope.sources.protocol import Source
from saescope.sources.split import hashes, held_out_items
from saescope.store.errors import DataError, OptionError

PROBE_K = (1, 5, 16)
"""Numbers of features that probes use."""
MOST_VALUES = 10
"""Values of a column that are probed: the most frequent ones."""
FEWEST = 5
"""Items of a value, and of the rest, that each half needs."""
MOST_ITEMS = 20_000
"""Items that are probed on; of more, those with the smallest seeded hash."""
ITEMS_SEED, HALVES_SEED = 2, 3
"""Two, since the halves would otherwise be divided by the very hash that the items were chosen by."""

register(
    Over.OTHER,
    {
        f"probe_auc_k{k}": f"area under the ROC curve, on one half of the items, of a logistic regression on the {k} "
        "features whose mean item codes differ most on the other half; by column and value, or the values' mean"
        for k in PROBE_K
    },
)


@dataclass(frozen=True)
class ProbePlan:
    """What is to be probed, before any code is known."""

    column: str
    values: tuple[str, ...]
    """The probed values, the most frequent first."""
    items: Int64[np.ndarray, " item"]
    """Items with a known value, ascending."""
    value_of: Int64[np.ndarray, " item"]
    """Index of each item's value in `values`; -1 for another one."""
    judging: Bool[np.ndarray, " item"]
    """Items of the half that gives the areas."""


def plan_probe(source: Source, column: str) -> ProbePlan:
    """The plan for one column of a source's metadata. `UserError` where there is no such column or too little of it."""
    metadata = source.metadata()
    if column not in metadata:
        known = ", ".join(metadata) or "none"
        raise OptionError(f"the source has no metadata column {column!r} to probe", f"its columns: {known}")
    names, codes = categories(metadata[column])
    if not names:
        raise OptionError(
            f"column {column!r} holds no categories to probe", "probe a column of strings, booleans or whole numbers"
        )
    known_items = np.flatnonzero(codes >= 0)
    if len(known_items) > MOST_ITEMS:
        order = np.argsort(hashes(known_items, ITEMS_SEED))
        known_items = np.sort(known_items[order[:MOST_ITEMS]])
    judging = held_out_items(source, HALVES_SEED, 0.5)[known_items]
    codes = codes[known_items]
    counts = np.stack([np.bincount(codes[half], minlength=len(names)) for half in (~judging, judging)])
    rest = counts.sum(1, keepdims=True) - counts
    enough = np.minimum(counts, rest).min(0) >= FEWEST
    by_count = np.argsort(-counts.sum(0), kind="stable")
    chosen = [int(c) for c in by_count if enough[c]][:MOST_VALUES]
    if not chosen:
        raise DataError(
            f"no value of column {column!r} can be probed: each half of the items needs {FEWEST} with it and {FEWEST} "
            f"without, but the most frequent of {len(names)} values has {int(counts.sum(0).max())} of "
            f"{len(known_items)} items",
            "give more items, or a column with fewer values",
        )
    place = np.full(len(names), -1)
    place[chosen] = np.arange(len(chosen))
    return ProbePlan(column, tuple(names[c] for c in chosen), known_items, place[codes], judging)


class PooledCodes:
    """Collects the pooled codes of some items while a pass goes by, block by block."""

    def __init__(self, items: Int64[np.ndarray, " item"], n_features: int) -> None:
        self._items, self._n_features = items, n_features
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, codes: CodeRows, items: Int64[np.ndarray, " row"]) -> None:
        """Add a block whose rows belong to `items`."""
        place = np.searchsorted(self._items, items)
        wanted = place < len(self._items)
        wanted[wanted] = self._items[place[wanted]] == items[wanted]
        per_row = np.diff(codes.row_ptr)
        taken = np.repeat(wanted, per_row)
        rows = np.repeat(place, per_row)[taken]
        self._parts.append(_pooled(rows, codes.features[taken], codes.values[taken]))

    def matrix(self) -> csr_array:
        """Pooled codes [item, feature] of all that was added."""
        parts = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        rows, features, values = _pooled(*parts)
        return csr_array((values, (rows, features)), shape=(len(self._items), self._n_features))


def _pooled(
    rows: np.ndarray, features: np.ndarray, values: np.ndarray
) -> tuple[Int64[np.ndarray, " entry"], Int64[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
    """For each row and feature that occur, the value with the largest size."""
    order = np.lexsort((-np.abs(values), features, rows))
    rows, features, values = rows[order], features[order], values[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (features[1:] != features[:-1])
    return rows[first].astype(np.int64), features[first].astype(np.int64), values[first]


def probe(plan: ProbePlan, codes: csr_array, progress: Progress = SILENT) -> Mapping[str, float | None]:
    """Areas by metric name: `probe_auc_k5.COLUMN` is the mean over the values, `probe_auc_k5.COLUMN.VALUE` one's."""
    training, judged = codes[~plan.judging], codes[plan.judging]
    areas: dict[str, float | None] = {}
    of_k: dict[int, list[float]] = {k: [] for k in PROBE_K}
    for at, value in enumerate(plan.values):
        wanted = plan.value_of == at
        y, truth = wanted[~plan.judging], wanted[plan.judging]
        difference = _mean(training[y]) - _mean(training[~y])
        order = np.argsort(-np.abs(difference), kind="stable")
        for k in PROBE_K:
            chosen = np.sort(order[:k])
            area = _area(training[:, chosen].toarray(), y, judged[:, chosen].toarray(), truth)
            of_k[k].append(area)
            areas[f"probe_auc_k{k}.{plan.column}.{value}"] = area
        progress.update(f"probing {plan.column}", at + 1, len(plan.values))
    means: dict[str, float | None] = {
        f"probe_auc_k{k}.{plan.column}": math.fsum(found) / len(found) for k, found in of_k.items()
    }
    return means | areas


def _mean(codes: csr_array) -> Float[np.ndarray, " feature"]:
    return np.asarray(codes.sum(axis=0, dtype=np.float64)).ravel() / codes.shape[0]


def _area(
    x: Float[np.ndarray, "item k"],
    y: Bool[np.ndarray, " item"],
    judged: Float[np.ndarray, "other k"],
    truth: Bool[np.ndarray, " other"],
) -> float:
    return float(roc_auc_score(truth, fit_logistic(x, y).scores(judged)))
