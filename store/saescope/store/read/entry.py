"""One entry of a store: an SAE evaluated on a source, as one immutable version of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from saescope.store import records
from saescope.store.annotations import Annotation
from saescope.store.errors import OptionError, StoreError, UnknownFeature, UnknownItem
from saescope.store.format.manifest import Manifest
from saescope.store.format.paths import VersionPaths
from saescope.store.format.schema import TABLES
from saescope.store.format.tables import read_parquet
from saescope.store.read import browse
from saescope.store.read.atoms import Weights
from saescope.store.read.browse import FeaturePage, Histogram, Scatter
from saescope.store.read.older import modernised

if TYPE_CHECKING:
    from saescope.store.read.reader import FeatureStore


class Entry:
    """Reads of one version. Opening costs nothing: the index is opened by the first read that needs it.

    An entry keeps showing the version that it was opened with; `store[sae_id]` gives the live one. Any number of
    threads may share an entry.
    """

    def __init__(self, store: FeatureStore, paths: VersionPaths, manifest: Manifest) -> None:
        self._store = store
        self._paths = paths
        self.manifest: Manifest = manifest
        """Provenance, options and summary metrics."""
        self._texts: dict[str, dict[int, float]] = {}  # a page asks for the same text several times
        self._texts_lock = threading.Lock()

    def __repr__(self) -> str:
        m = self.manifest
        parts = [f"{m.architecture}, {m.n_features:,} features, {m.n_positions:,} positions"]
        for name in ("l0", "fvu"):
            value = m.metrics.get(name)
            if value is not None:
                parts.append(f"{name}={value:.3g}")
        return f"<Entry {m.sae_id!r}: {', '.join(parts)}>"

    @property
    def sae_id(self) -> str:
        return self.manifest.sae_id

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def metrics(self) -> dict[str, float | None]:
        """Name -> value; None where undefined."""
        return self.manifest.metrics

    @property
    def n_features(self) -> int:
        return self.manifest.n_features

    @property
    def n_positions(self) -> int:
        """Evaluated positions N behind every statistic."""
        return self.manifest.n_positions

    @property
    def weights_sha256(self) -> str:
        return self.manifest.weights_sha256

    @property
    def paths(self) -> VersionPaths:
        """Files of this version."""
        return self._paths

    @property
    def tables(self) -> list[str]:
        """Names of the tables that this version has, in the schema's order."""
        return [name for name in TABLES if f"{name}.parquet" in self.manifest.files]

    def has_table(self, name: str) -> bool:
        return f"{name}.parquet" in self.manifest.files

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table, from its Parquet file. Raises `StoreError` if the entry has none of that name."""
        if not self.has_table(name):
            raise StoreError(f"{self.sae_id} has no table {name!r}", f"it has {', '.join(self.tables)}")
        return modernised(name, read_parquet(self._paths.table(name), columns), self.manifest.tables_version)

    def sql(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> pa.Table:
        """The rows of a read-only SQL statement over this version's tables, with bound parameters."""
        return self._cursor().sql(statement, params=parameters).to_arrow_table()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        return self._store.indexes.cursor(self._paths, self.manifest)

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._cursor().execute(statement, parameters).fetchall()

    def check_feature(self, feature_id: int) -> int:
        """`feature_id` as int, or `UnknownFeature`."""
        known = isinstance(feature_id, (int, np.integer)) and 0 <= feature_id < self.n_features
        if not known or isinstance(feature_id, bool):
            raise UnknownFeature(
                f"{self.sae_id} has no feature {feature_id!r}", f"its features are 0 to {self.n_features - 1}"
            )
        return int(feature_id)

    def feature(self, feature_id: int) -> records.Feature:
        """Every statistic of one feature, its ranks, and its user label. Raises `UnknownFeature`."""
        i = self.check_feature(feature_id)
        return self._features([i])[0]

    def _features(self, ids: list[int]) -> list[records.Feature]:
        """Records in the order of `ids`."""
        chosen = _among("feature_id", len(ids))
        rows = self._rows(f"SELECT {_FEATURE_COLUMNS} FROM features WHERE {chosen}", ids)  # noqa: S608 - our columns
        by_id = {row[0]: dict(zip(_FEATURE_NAMES, row, strict=True)) for row in rows}
        notes = self.annotations()
        counts, strengths = self._ranking
        n = len(counts)
        found = []
        for i in ids:
            columns = by_id[i]
            note = notes.get(i) or Annotation(i)
            strength = columns["max_activation"]
            rank = None
            if strength is not None:
                rank = n - int(np.searchsorted(strengths, np.float32(abs(strength)), side="right")) + 1
            found.append(
                records.Feature(
                    **columns,
                    density_rank=n - int(np.searchsorted(counts, columns["n_firing"], side="right")) + 1,
                    max_rank=rank,
                    n_features=self.n_features,
                    user_label=note.label,
                    is_starred=note.starred,
                )
            )
        return found

    @cached_property
    def _ranking(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """n_firing, and |max_activation| (-1 for the dead), of all features, each ascending, to rank one among all."""
        columns = self._cursor().execute(
            "SELECT n_firing, coalesce(abs(max_activation), -1)::FLOAT AS strength FROM features"
        )
        arrays = columns.fetchnumpy()
        return np.sort(np.asarray(arrays["n_firing"])), np.sort(np.asarray(arrays["strength"]))

    def search(self, query: str, limit: int = 50) -> list[records.Feature]:
        """Features that match a query, at most `limit`: the one of a bare id first, starred ones, then by how well they
        fit the tokens and texts of the query (share of firings, logit, share of examples), then by firings.

        A query has words of labels (automatic or people's), a "quoted phrase", #12 or #12..40, comparisons of any
        numeric column (density > 1% and max_activation >= 5), is:dead|live|dense|starred|labelled|commented,
        in:LIST; for texts token:X, raises:X and lowers:X (features that X fires, whose atom raises or lowers X; exactly
        X in quotation marks, else whatever its case and the white space around it) and text:"some words" (features with
        an example whose item holds them); joined by and, or, not and parentheses, and by nothing for and. Raises
        `QueryError`.
        """
        return self._features(browse.search_ids(self, query, limit))

    def features_with_text(self, text: str) -> dict[int, float]:
        """Features with an example whose item's text holds `text`, and the share of their examples for which it does;
        case is ignored, and any white space matches white space. Empty where items have no tokens."""
        with self._texts_lock:
            known = self._texts.get(text)
        if known is None:
            known = browse.features_with_text(self, text)
            with self._texts_lock:
                self._texts[text] = known
                while len(self._texts) > _TEXTS_KEPT:
                    self._texts.pop(next(iter(self._texts)))
        return known

    def features_page(
        self, query: str = "", sort: str = "density", descending: bool = True, page: int = 0, page_size: int = 200
    ) -> FeaturePage:
        """A page of the features that match `query` (see `search`), nulls last, ties by id.

        `sort` is one of `browse.SORTS` or 'relevance'. Raises `QueryError`, `OptionError` for more than 1,000 rows.
        """
        return browse.features_page(self, query, sort, descending, page, page_size)

    def scatter(
        self, x: str, y: str, query: str = "", limit: int = 10_000, log_x: bool = False, log_y: bool = False
    ) -> Scatter:
        """Two numeric columns of the features that match `query`: points, or cells binned in SQL above `limit`.

        Cells are equally wide on the (log) axes. Raises `QueryError`, `OptionError` for a limit above 10,000.
        """
        return browse.scatter(self, x, y, query, limit, log_x, log_y)

    def histogram(self, column: str, bins: int = 50, log: bool = True, query: str = "") -> Histogram:
        """How a numeric column is spread over the features that match `query`. Raises `QueryError`."""
        return browse.histogram(self, column, bins, log, query)

    def near_duplicates(self, min_cosine: float = 0.9, limit: int = 200) -> list[records.NearDuplicate]:
        """Pairs of features whose atoms have at least this cosine, nearest first, found among the kept neighbours."""
        return browse.near_duplicates(self, min_cosine, limit)[0]

    def n_near_duplicates(self, min_cosine: float = 0.9) -> int:
        """How many such pairs there are in all."""
        return browse.near_duplicates(self, min_cosine, 1)[1]

    def examples(self, feature_id: int, kind: str | None = None, interval: int | None = None) -> list[records.Example]:
        """Examples of a feature by kind ('top' first), interval (strongest first) and rank.

        `kind` 'top' or 'interval' and `interval` narrow them. Raises `UnknownFeature`, `OptionError` for another kind.
        """
        i = self.check_feature(feature_id)
        if kind not in (None, "top", "interval"):
            raise OptionError(f"no kind of examples {kind!r}", "use 'top' or 'interval'")
        narrowed = {"kind": kind, '"interval"': interval}
        given = {column: value for column, value in narrowed.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in ("feature_id", *given))
        rows = self._rows(
            f'SELECT {_EXAMPLE_COLUMNS} FROM examples WHERE {where} ORDER BY kind DESC, "interval", rank',  # noqa: S608
            [i, *given.values()],
        )
        return [records.Example(*row) for row in rows]

    def neighbours(self, feature_id: int) -> list[records.Neighbour]:
        """Features with the most similar atoms, nearest first. Empty where the entry has no such table."""
        i = self.check_feature(feature_id)
        if not self.has_table("neighbours"):
            return []
        rows = self._rows(
            """SELECT n.feature_id, rank, neighbour_id, cosine, auto_label, is_dead
            FROM neighbours n JOIN features f ON f.feature_id = n.neighbour_id
            WHERE n.feature_id = ? ORDER BY rank""",
            [i],
        )
        return [records.Neighbour(*row) for row in rows]

    def coactivations(self, feature_id: int) -> list[records.Coactivation]:
        """Features that fire at the same positions, largest Jaccard index first. Empty without such a table."""
        i = self.check_feature(feature_id)
        if not self.has_table("coactivations"):
            return []
        rows = self._rows(
            """SELECT c.feature_id, rank, other_id, n_both, jaccard, auto_label
            FROM coactivations c JOIN features f ON f.feature_id = c.other_id
            WHERE c.feature_id = ? ORDER BY rank""",
            [i],
        )
        return [records.Coactivation(*row) for row in rows]

    def top_tokens(self, feature_id: int) -> list[records.TopToken]:
        """Tokens that fire a feature, most firings first. Empty where the entry has no such table."""
        i = self.check_feature(feature_id)
        if not self.has_table("top_tokens"):
            return []
        rows = self._rows(f"SELECT {_TOKEN_COLUMNS} FROM top_tokens WHERE feature_id = ? ORDER BY rank", [i])  # noqa: S608
        return [records.TopToken(*row) for row in rows]

    def first_tokens(self, feature_ids: Sequence[int] | npt.NDArray[np.integer]) -> dict[int, str]:
        """The token with the most firings of each of the given features, those without one left out."""
        if not self.has_table("top_tokens"):
            return {}
        wanted = [int(i) for i in feature_ids]
        rows = self._rows(
            "SELECT feature_id, token FROM top_tokens WHERE rank = 0 AND feature_id IN (SELECT unnest(?::INTEGER[]))",
            [wanted],
        )
        return dict(rows)

    def top_logits(self, feature_id: int, sign: int | None = None) -> list[records.TopLogit]:
        """Tokens that a feature's atom raises (`sign` +1), then those it lowers (-1), strongest first.

        Empty where the entry has no such table.
        """
        i = self.check_feature(feature_id)
        if not self.has_table("top_logits"):
            return []
        rows = self._rows(
            f"SELECT {_LOGIT_COLUMNS} FROM top_logits WHERE feature_id = ? ORDER BY sign DESC, rank",  # noqa: S608
            [i],
        )
        logits = [records.TopLogit(*row) for row in rows]
        return logits if sign is None else [logit for logit in logits if logit.sign == sign]

    def items(self, item_ids: Sequence[int] | npt.NDArray[np.integer]) -> pa.Table:
        """Rows of table `items` in the order of `item_ids` (each once); ids that are not kept are left out."""
        wanted = list(dict.fromkeys(int(i) for i in item_ids))
        return self._by_item("items", wanted)

    def item(self, item_id: int) -> records.Item:
        """One item. Raises `UnknownItem` where the store does not keep it."""
        rows = self.items([item_id]).to_pylist()
        if not rows:
            raise UnknownItem(f"{self.sae_id} does not keep item {item_id}", "it keeps the items of its examples")
        own = {c.name: rows[0].pop(c.name, None) for c in TABLES["items"].columns}
        return records.Item(**own, metadata=rows[0])

    def sample_item_ids(self) -> list[int]:
        """The fixed sample of items with codes (and, for pixels, reconstructions), ascending."""
        for name in ("item_codes", "reconstructions"):
            if self.has_table(name):
                return [row[0] for row in self._rows(f"SELECT DISTINCT item_id FROM {name} ORDER BY item_id")]  # noqa: S608
        return []

    def item_codes(self, item_id: int) -> list[records.ItemCode]:
        """The code of each position of a sampled item; empty for other items."""
        if not self.has_table("item_codes"):
            return []
        rows = self._rows(
            "SELECT item_id, position, feature_ids, activations FROM item_codes WHERE item_id = ? ORDER BY position",
            [int(item_id)],
        )
        return [records.ItemCode(*row) for row in rows]

    def reconstruction(self, item_ids: Sequence[int] | npt.NDArray[np.integer]) -> pa.Table:
        """Rows of table `reconstructions` in the order of `item_ids`; ids outside the sample are left out."""
        if not self.has_table("reconstructions"):
            raise StoreError(f"{self.sae_id} has no reconstructions", "only SAEs of pixels have them")
        return self._by_item("reconstructions", list(dict.fromkeys(int(i) for i in item_ids)))

    def _by_item(self, table: str, wanted: list[int]) -> pa.Table:
        return self.sql(
            f"SELECT * FROM {table} WHERE {_among('item_id', len(wanted))} "  # noqa: S608 - the name is ours
            "ORDER BY list_position(?::BIGINT[], item_id)",
            [*wanted, wanted],
        )

    def training_curve(self) -> pa.Table | None:
        """Table `training`, or None where the checkpoint brought none."""
        return self.table("training") if self.has_table("training") else None

    def baselines(self) -> pa.Table | None:
        """Table `baselines`, or None."""
        return self.table("baselines") if self.has_table("baselines") else None

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self._paths.weights)

    @cached_property
    def _unit_atoms(self) -> bool:
        """Whether codes carry the norms of W_dec's rows, so that what a code of 1 adds has norm 1."""
        try:
            return json.loads(self._paths.config.read_bytes()).get("rescale_by_decoder_norm") is True
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(f"cannot read {self._paths.config}: {error}", "run saescope verify") from error

    def atoms(self, feature_ids: Sequence[int] | npt.NDArray[np.integer] | None = None) -> npt.NDArray[np.float32]:
        """Decoder directions [feature, d_out] of the given features (None: all), as float32: what a code of 1 adds.

        Only the wanted rows of the weights file are read. Raises `UnknownFeature`, `StoreError`.
        """
        shape = self._weights.shape("W_dec")
        if shape is None:
            raise StoreError(f"{self.sae_id} has no atoms: its decoder is not linear")
        if shape != (self.manifest.n_features, self.manifest.d_out):
            raise StoreError(
                f"W_dec of {self.sae_id} has shape {list(shape)}, "
                f"expected [{self.manifest.n_features}, {self.manifest.d_out}]",
                "run saescope verify",
            )
        if feature_ids is None:
            return self._as_atoms(self._weights.tensor("W_dec"))
        ids = np.asarray(feature_ids, dtype=np.int64).reshape(-1)
        outside = ids[(ids < 0) | (ids >= self.n_features)]
        if len(outside):
            self.check_feature(int(outside[0]))
        return self._as_atoms(self._weights.tensor("W_dec", ids))

    def _as_atoms(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if not self._unit_atoms:
            return rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))

    def decoder_bias(self) -> npt.NDArray[np.float32] | None:
        """`b_dec` [d_out], what a zero code decodes to; None where there is none."""
        return None if self._weights.shape("b_dec") is None else self._weights.tensor("b_dec")

    def annotation(self, feature_id: int) -> Annotation:
        """What people said about a feature: label, star, comments, lists. Raises `UnknownFeature`."""
        i = self.check_feature(feature_id)
        return self.annotations().get(i) or Annotation(i)

    def annotations(self) -> Mapping[int, Annotation]:
        """What people said about every feature that anybody touched."""
        return self._store.annotations.states(self.weights_sha256)

    def label(self, feature_id: int, text: str | None, author: str | None = None) -> None:
        """Give a feature a label; None takes it away. It is kept by the weights' hash, so it outlives this version."""
        self._store.annotations.label(self.weights_sha256, self.check_feature(feature_id), text, author)

    def star(self, feature_id: int, starred: bool = True, author: str | None = None) -> None:
        """Star a feature, or take the star away."""
        self._store.annotations.star(self.weights_sha256, self.check_feature(feature_id), starred, author)


def _among(column: str, n: int) -> str:
    """SQL of `column` being one of n parameters; a list of them is found by the column's order, a join is not."""
    return f"{column} IN ({', '.join('?' * n)})" if n else "false"


_TEXTS_KEPT = 32

_FEATURE_NAMES = [c.name for c in TABLES["features"].columns]
_FEATURE_COLUMNS = ", ".join(_FEATURE_NAMES)
_EXAMPLE_COLUMNS = ", ".join(f'"{c.name}"' for c in TABLES["examples"].columns)
_TOKEN_COLUMNS = ", ".join(c.name for c in TABLES["top_tokens"].columns)
_LOGIT_COLUMNS = ", ".join(c.name for c in TABLES["top_logits"].columns)
