"""Queries over all features of a version: pages of a table, scatter plots, histograms, near-duplicates, search.

Everything is filtered, sorted, binned and cut in SQL: a page has at most 1,000 rows, a plot at most 10,000 points.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from saescope.store.errors import OptionError, QueryError
from saescope.store.format.schema import TABLES
from saescope.store.read.connection import Connection
from saescope.store.read.features import FeatureReader
from saescope.store.read.notes import FeatureNotes
from saescope.store.records import Feature, NearDuplicate
from saescope.store.search.condition import FROM, NOTES, Condition, condition
from saescope.store.search.condition import column as column_named
from saescope.store.token_text import spelling

MAX_ROWS = 1_000
MAX_POINTS = 10_000
_TEXTS_KEPT = 32

_SCALARS = [c.name for c in TABLES["features"].columns if not pa.types.is_list(c.type)]
_PAGE_COLUMNS = (
    ", ".join(f"f.{name}" for name in _SCALARS)
    + ", n.user_label, coalesce(n.user_label, f.auto_label) AS label, coalesce(n.is_starred, false) AS is_starred"
)
_SORTS = {name: f"f.{name}" for name in _SCALARS} | {
    "max_activation": "abs(f.max_activation)",
    "label": "lower(coalesce(n.user_label, f.auto_label))",
    "user_label": "lower(n.user_label)",
    "is_starred": "coalesce(n.is_starred, false)",
}
SORTS = tuple(_SORTS)
"""Columns that a page of features can be sorted by; max_activation goes by magnitude."""
RELEVANCE = "relevance"
"""The other order: by how well features fit the tokens and texts of the query."""


@dataclass(frozen=True)
class FeaturePage:
    """A page of features: their scalar columns, user_label, label (user's, else automatic) and is_starred."""

    rows: pa.Table
    total: int
    """Features that match the query, on all pages."""
    page: int
    page_size: int

    @property
    def n_pages(self) -> int:
        return max(1, math.ceil(self.total / self.page_size))


@dataclass(frozen=True)
class Scatter:
    """Points (feature_id, x, y, is_dead, is_dense, label), or above the limit cells with counts."""

    points: pa.Table | None
    cells: pa.Table | None
    """x_low, x_high, y_low, y_high, n_features, feature_id (the least one of the cell)."""
    total: int
    """Features drawn."""
    n_missing: int
    """Features of the query that cannot be drawn: a null, or nothing above 0 on a log axis."""


@dataclass(frozen=True)
class Histogram:
    """Counts of features [bin] between `edges` [bin + 1]; the last bin holds its upper edge too."""

    column: str
    log: bool
    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    n_missing: int
    """Features that are in no bin: a null, or nothing above 0 on a log axis."""


class FeatureQueries:
    """Queries over all features."""

    def __init__(self, connection: Connection, notes: FeatureNotes, features: FeatureReader) -> None:
        self._connection = connection
        self._notes = notes
        self._features = features
        self._texts: dict[str, dict[int, float]] = {}  # a page asks for the same text several times
        self._texts_lock = threading.Lock()

    def has_table(self, name: str) -> bool:
        return self._connection.has_table(name)

    def _condition(self, query: str) -> Condition:
        return condition(query, self._notes.annotations(), self)

    def search(self, query: str, limit: int = 50) -> list[Feature]:
        """Features that match a query, at most `limit`: the one of a bare id first, starred ones, then by how well they
        fit the tokens and texts of the query (share of firings, logit, share of examples), then by firings.

        A query has words of labels (automatic or people's), a "quoted phrase", #12 or #12..40, comparisons of any
        numeric column (density > 1% and max_activation >= 5), is:dead|live|dense|starred|labelled|commented,
        in:LIST; for texts token:X, raises:X and lowers:X (features that X fires, whose atom raises or lowers X; exactly
        X in quotation marks, else whatever its case and the white space around it) and text:"some words" (features with
        an example whose item holds them); joined by and, or, not and parentheses, and by nothing for and. Raises
        `QueryError`.
        """
        if not 1 <= limit <= MAX_ROWS:
            raise OptionError(f"limit {limit}", f"use 1 to {MAX_ROWS:,}")
        where = self._condition(query)
        rows = self._connection.sql(
            f"""WITH {NOTES} SELECT f.feature_id FROM {FROM} WHERE {where.sql}
            ORDER BY f.feature_id = $only DESC, coalesce(n.is_starred, false) DESC, {where.relevance} DESC,
                f.n_firing DESC, f.feature_id LIMIT $most""",  # noqa: S608
            where.parameters
            | where.relevance_parameters
            | {"only": -1 if where.only_id is None else min(where.only_id, 2**31), "most": limit},
        )
        return self._features.features(rows["feature_id"].to_pylist())

    def features_with_text(self, text: str) -> dict[int, float]:
        """Features with an example whose item's text holds `text`, and the share of their examples for which it does;
        case is ignored, and any white space matches white space. Empty where items have no tokens."""
        with self._texts_lock:
            known = self._texts.get(text)
        if known is None:
            known = self._shares_with_text(text)
            with self._texts_lock:
                self._texts[text] = known
                while len(self._texts) > _TEXTS_KEPT:
                    self._texts.pop(next(iter(self._texts)))
        return known

    def _shares_with_text(self, text: str) -> dict[int, float]:
        rows = self._connection.sql(
            """WITH found AS (
                SELECT item_id FROM items WHERE regexp_matches(array_to_string(tokens, ''), $pattern, 'i'))
            SELECT feature_id, count(found.item_id) / count(*) AS share
            FROM examples LEFT JOIN found USING (item_id) GROUP BY feature_id
            HAVING count(found.item_id) > 0 ORDER BY feature_id""",
            {"pattern": spelling(text)},
        )
        return dict(zip(rows["feature_id"].to_pylist(), rows["share"].to_pylist(), strict=True))

    def features_page(
        self, query: str = "", sort: str = "density", descending: bool = True, page: int = 0, page_size: int = 200
    ) -> FeaturePage:
        """A page of the features that match `query` (see `search`), nulls last, ties by id.

        `sort` is one of `SORTS` or 'relevance'. Raises `QueryError`, `OptionError` for more than 1,000 rows.
        """
        if sort not in (*SORTS, RELEVANCE):
            raise QueryError(f"cannot sort by {sort!r}", f"sort by one of {', '.join((*SORTS, RELEVANCE))}")
        if not 1 <= page_size <= MAX_ROWS or page < 0:
            raise OptionError(f"page {page} of {page_size} rows", f"pages count from 0 and have 1 to {MAX_ROWS:,} rows")
        where = self._condition(query)
        by = where.relevance if sort == RELEVANCE else _SORTS[sort]
        direction = "DESC" if descending else "ASC"
        count = f"WITH {NOTES} SELECT count(*) AS n FROM {FROM} WHERE {where.sql}"  # noqa: S608
        total = self._connection.sql(count, where.parameters)
        rows = self._connection.sql(
            f"""WITH {NOTES} SELECT {_PAGE_COLUMNS} FROM {FROM} WHERE {where.sql}
            ORDER BY {by} {direction} NULLS LAST, f.feature_id LIMIT $page_rows OFFSET $page_start""",  # noqa: S608
            where.parameters
            | (where.relevance_parameters if sort == RELEVANCE else {})
            | {"page_rows": page_size, "page_start": page * page_size},
        )
        return FeaturePage(rows, total["n"][0].as_py(), page, page_size)

    def scatter(
        self, x: str, y: str, query: str = "", limit: int = 10_000, log_x: bool = False, log_y: bool = False
    ) -> Scatter:
        """Two numeric columns of the features that match `query`: points, or cells binned in SQL above `limit`.

        Cells are equally wide on the (log) axes. Raises `QueryError`, `OptionError` for a limit above 10,000.
        """
        if not 1 <= limit <= MAX_POINTS:
            raise OptionError(f"limit {limit}", f"use 1 to {MAX_POINTS:,}")
        where = self._condition(query)
        (x_sql, x_fits), (y_sql, y_fits) = _axis(x, log_x), _axis(y, log_y)
        fits = f"({x_fits} AND {y_fits})"
        seen = self._connection.sql(
            f"""WITH {NOTES} SELECT count(*) AS n, count(*) FILTER ({fits}) AS drawn,
                min({x_sql}) FILTER ({fits}) AS x0, max({x_sql}) FILTER ({fits}) AS x1,
                min({y_sql}) FILTER ({fits}) AS y0, max({y_sql}) FILTER ({fits}) AS y1
            FROM {FROM} WHERE {where.sql}""",  # noqa: S608
            where.parameters,
        ).to_pylist()[0]
        n_missing = seen["n"] - seen["drawn"]
        if seen["drawn"] <= limit:
            points = self._connection.sql(
                f"""WITH {NOTES} SELECT f.feature_id, f.{column_named(x)} AS x, f.{column_named(y)} AS y,
                    f.is_dead, f.is_dense, coalesce(n.user_label, f.auto_label) AS label
                FROM {FROM} WHERE {where.sql} AND {fits} ORDER BY f.feature_id""",  # noqa: S608
                where.parameters,
            )
            return Scatter(points, None, seen["drawn"], n_missing)
        n_bins = math.isqrt(limit)
        x_step, y_step = _step(seen["x0"], seen["x1"], n_bins), _step(seen["y0"], seen["y1"], n_bins)
        binned = self._connection.sql(
            f"""WITH {NOTES} SELECT least(floor(({x_sql} - $x0) / $dx), $last)::INTEGER AS i,
                least(floor(({y_sql} - $y0) / $dy), $last)::INTEGER AS j,
                count(*) AS n_features, min(f.feature_id) AS feature_id
            FROM {FROM} WHERE {where.sql} AND {fits} GROUP BY i, j ORDER BY i, j""",  # noqa: S608
            where.parameters | {"x0": seen["x0"], "dx": x_step, "y0": seen["y0"], "dy": y_step, "last": n_bins - 1},
        )
        i, j = binned["i"].to_numpy(), binned["j"].to_numpy()
        edges: dict[str, Any] = {
            "x_low": _place(seen["x0"], x_step, i, log_x),
            "x_high": _place(seen["x0"], x_step, i + 1, log_x),
            "y_low": _place(seen["y0"], y_step, j, log_y),
            "y_high": _place(seen["y0"], y_step, j + 1, log_y),
        }
        cells = pa.table(edges | {name: binned[name] for name in ("n_features", "feature_id")})
        return Scatter(None, cells, seen["drawn"], n_missing)

    def histogram(self, column: str, bins: int = 50, log: bool = True, query: str = "") -> Histogram:
        """How a numeric column is spread over the features that match `query`. Raises `QueryError`."""
        if not 1 <= bins <= MAX_ROWS:
            raise OptionError(f"{bins} bins", f"use 1 to {MAX_ROWS:,}")
        where = self._condition(query)
        value, fits = _axis(column, log)
        seen = self._connection.sql(
            f"""WITH {NOTES} SELECT count(*) AS n, count(*) FILTER ({fits}) AS drawn,
                min({value}) FILTER ({fits}) AS low, max({value}) FILTER ({fits}) AS high
            FROM {FROM} WHERE {where.sql}""",  # noqa: S608
            where.parameters,
        ).to_pylist()[0]
        n_missing = seen["n"] - seen["drawn"]
        if not seen["drawn"]:
            return Histogram(column_named(column), log, np.zeros(1), np.zeros(0, np.int64), n_missing)
        low, high = seen["low"], seen["high"]
        if low == high:
            low, high, bins = low - 0.5, high + 0.5, 1
        step = (high - low) / bins
        rows = self._connection.sql(
            f"""WITH {NOTES} SELECT least(floor(({value} - $low) / $step), $last)::INTEGER AS bin, count(*) AS n
            FROM {FROM} WHERE {where.sql} AND {fits} GROUP BY bin""",  # noqa: S608
            where.parameters | {"low": low, "step": step, "last": bins - 1},
        )
        counts = np.zeros(bins, np.int64)
        counts[rows["bin"].to_numpy()] = rows["n"].to_numpy()
        return Histogram(column_named(column), log, _place(low, step, np.arange(bins + 1), log), counts, n_missing)

    def near_duplicates(self, min_cosine: float = 0.9, limit: int = 200) -> list[NearDuplicate]:
        """Pairs of features whose atoms have at least this cosine, nearest first, found among the kept neighbours."""
        return self._near_duplicates(min_cosine, limit)[0]

    def n_near_duplicates(self, min_cosine: float = 0.9) -> int:
        """How many such pairs there are in all."""
        return self._near_duplicates(min_cosine, 1)[1]

    def _near_duplicates(self, min_cosine: float, limit: int) -> tuple[list[NearDuplicate], int]:
        """At most `limit` pairs, and how many there are in all."""
        if not 1 <= limit <= MAX_ROWS:
            raise OptionError(f"limit {limit}", f"use 1 to {MAX_ROWS:,}")
        if not self._connection.has_table("neighbours"):
            return [], 0
        pairs = """pairs AS (
            SELECT least(feature_id, neighbour_id) AS a, greatest(feature_id, neighbour_id) AS b, max(cosine) AS cosine
            FROM neighbours WHERE cosine >= $least::FLOAT GROUP BY a, b)"""
        rows = self._connection.sql(
            f"""WITH {pairs} SELECT a, b, cosine, count(*) OVER () AS total FROM pairs
            ORDER BY cosine DESC, a, b LIMIT $most""",  # noqa: S608
            {"least": float(min_cosine), "most": limit},
        ).to_pylist()
        return [NearDuplicate(r["a"], r["b"], r["cosine"]) for r in rows], rows[0]["total"] if rows else 0


def _axis(name: str, log: bool) -> tuple[str, str]:
    """SQL of a column on an axis, and of whether it can be drawn there."""
    value = f"f.{column_named(name)}::DOUBLE"
    return (f"log10({value})", f"coalesce({value} > 0, false)") if log else (value, f"{value} IS NOT NULL")


def _step(low: float, high: float, n_bins: int) -> float:
    return (high - low) / n_bins if high > low else 1.0


def _place(start: float, step: float, index: npt.NDArray[Any], log: bool) -> npt.NDArray[np.float64]:
    place = start + step * index.astype(np.float64)
    return np.power(10.0, place) if log else place
