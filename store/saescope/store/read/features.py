"""What the tables say about one feature: its statistics, examples, neighbours, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from saescope.store.annotations import Annotation
from saescope.store.errors import OptionError, StoreError
from saescope.store.format.schema import EFFECT_KINDS, TABLES
from saescope.store.read.connection import Connection, among
from saescope.store.read.notes import FeatureNotes
from saescope.store.records import Coactivation, Effect, Example, Feature, Neighbour, TopLogit, TopToken


class FeatureReader:
    """Reads of single features."""

    def __init__(self, connection: Connection, notes: FeatureNotes) -> None:
        self._connection = connection
        self._notes = notes

    def feature(self, feature_id: int) -> Feature:
        """Every statistic of one feature, its ranks, and its user label. Raises `UnknownFeature`."""
        i = self._connection.check_feature(feature_id)
        return self.features([i])[0]

    def features(self, ids: list[int]) -> list[Feature]:
        """The statistics of several features, in the order of `ids`, which are known to be there."""
        chosen = among("feature_id", len(ids))
        rows = self._connection.rows(f"SELECT {_FEATURE_COLUMNS} FROM features WHERE {chosen}", ids)  # noqa: S608 - our columns
        by_id = {row[0]: dict(zip(_FEATURE_NAMES, row, strict=True)) for row in rows}
        notes = self._notes.annotations()
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
                Feature(
                    **columns,
                    density_rank=n - int(np.searchsorted(counts, columns["n_firing"], side="right")) + 1,
                    max_rank=rank,
                    n_features=self._connection.manifest.n_features,
                    user_label=note.label,
                    is_starred=note.starred,
                )
            )
        return found

    @cached_property
    def _ranking(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """n_firing, and |max_activation| (-1 for the dead), of all features, each ascending, to rank one among all."""
        arrays = self._connection.arrays(
            "SELECT n_firing, coalesce(abs(max_activation), -1)::FLOAT AS strength FROM features"
        )
        return np.sort(np.asarray(arrays["n_firing"])), np.sort(np.asarray(arrays["strength"]))

    def examples(self, feature_id: int, kind: str | None = None, interval: int | None = None) -> list[Example]:
        """Examples of a feature by kind ('top' first), interval (strongest first) and rank.

        `kind` 'top' or 'interval' and `interval` narrow them. Raises `UnknownFeature`, `OptionError` for another kind.
        """
        i = self._connection.check_feature(feature_id)
        if kind not in (None, "top", "interval"):
            raise OptionError(f"no kind of examples {kind!r}", "use 'top' or 'interval'")
        narrowed = {"kind": kind, '"interval"': interval}
        given = {column: value for column, value in narrowed.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in ("feature_id", *given))
        rows = self._connection.rows(
            f'SELECT {_EXAMPLE_COLUMNS} FROM examples WHERE {where} ORDER BY kind DESC, "interval", rank',  # noqa: S608
            [i, *given.values()],
        )
        return [Example(*row) for row in rows]

    def neighbours(self, feature_id: int) -> list[Neighbour]:
        """Features with the most similar atoms, nearest first. Empty where the entry has no such table."""
        i = self._connection.check_feature(feature_id)
        if not self._connection.has_table("neighbours"):
            return []
        rows = self._connection.rows(
            """SELECT n.feature_id, rank, neighbour_id, cosine, auto_label, is_dead
            FROM neighbours n JOIN features f ON f.feature_id = n.neighbour_id
            WHERE n.feature_id = ? ORDER BY rank""",
            [i],
        )
        return [Neighbour(*row) for row in rows]

    def effects(self, feature_ids: Sequence[int] | npt.NDArray[np.integer], kind: str = "mean") -> list[Effect]:
        """What the given features of a decoder that is not linear do to the output, in that order.

        `kind` is 'mean', 'item' (features that never fired have none and are left out) or 'jacobian'. Raises
        `UnknownFeature`, `OptionError` for another kind, `StoreError` where the entry has no such table.
        """
        if kind not in EFFECT_KINDS:
            raise OptionError(f"no kind of effects {kind!r}", f"use {', '.join(EFFECT_KINDS)}")
        if not self._connection.has_table("effects"):
            raise StoreError(
                f"{self._connection.sae_id} has no effects", "its decoder is linear, or it was built without them"
            )
        ids = [self._connection.check_feature(i) for i in dict.fromkeys(int(i) for i in feature_ids)]
        table = self._connection.sql(
            f"SELECT {_EFFECT_COLUMNS} FROM effects WHERE kind = ? AND {among('feature_id', len(ids))}",  # noqa: S608
            [kind, *ids],
        )
        pieces = [chunk[i].values.to_numpy() for chunk in table["values"].chunks for i in range(len(chunk))]
        rows = table.drop_columns(["values"]).to_pylist()
        found = {row["feature_id"]: Effect(**row, values=piece) for row, piece in zip(rows, pieces, strict=True)}
        return [found[i] for i in (int(i) for i in feature_ids) if i in found]

    def coactivations(self, feature_id: int) -> list[Coactivation]:
        """Features that fire at the same positions, largest Jaccard index first. Empty without such a table."""
        i = self._connection.check_feature(feature_id)
        if not self._connection.has_table("coactivations"):
            return []
        rows = self._connection.rows(
            """SELECT c.feature_id, rank, other_id, n_both, jaccard, auto_label
            FROM coactivations c JOIN features f ON f.feature_id = c.other_id
            WHERE c.feature_id = ? ORDER BY rank""",
            [i],
        )
        return [Coactivation(*row) for row in rows]

    def top_tokens(self, feature_id: int) -> list[TopToken]:
        """Tokens that fire a feature, most firings first. Empty where the entry has no such table."""
        i = self._connection.check_feature(feature_id)
        if not self._connection.has_table("top_tokens"):
            return []
        rows = self._connection.rows(f"SELECT {_TOKEN_COLUMNS} FROM top_tokens WHERE feature_id = ? ORDER BY rank", [i])  # noqa: S608
        return [TopToken(*row) for row in rows]

    def first_tokens(self, feature_ids: Sequence[int] | npt.NDArray[np.integer]) -> dict[int, str]:
        """The token with the most firings of each of the given features, those without one left out."""
        if not self._connection.has_table("top_tokens"):
            return {}
        wanted = [int(i) for i in feature_ids]
        rows = self._connection.rows(
            "SELECT feature_id, token FROM top_tokens WHERE rank = 0 AND feature_id IN (SELECT unnest(?::INTEGER[]))",
            [wanted],
        )
        return dict(rows)

    def top_logits(self, feature_id: int, sign: int | None = None) -> list[TopLogit]:
        """Tokens that a feature's atom raises (`sign` +1), then those it lowers (-1), strongest first.

        Empty where the entry has no such table.
        """
        i = self._connection.check_feature(feature_id)
        if not self._connection.has_table("top_logits"):
            return []
        rows = self._connection.rows(
            f"SELECT {_LOGIT_COLUMNS} FROM top_logits WHERE feature_id = ? ORDER BY sign DESC, rank",  # noqa: S608
            [i],
        )
        logits = [TopLogit(*row) for row in rows]
        return logits if sign is None else [logit for logit in logits if logit.sign == sign]


_FEATURE_NAMES = [c.name for c in TABLES["features"].columns]
_FEATURE_COLUMNS = ", ".join(_FEATURE_NAMES)
_EXAMPLE_COLUMNS = ", ".join(f'"{c.name}"' for c in TABLES["examples"].columns)
_EFFECT_COLUMNS = ", ".join(f'"{c.name}"' for c in TABLES["effects"].columns)
_TOKEN_COLUMNS = ", ".join(c.name for c in TABLES["top_tokens"].columns)
_LOGIT_COLUMNS = ", ".join(c.name for c in TABLES["top_logits"].columns)
