"""The tables of one version: whole ones from Parquet, rows by SQL from the index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from saescope.store.errors import StoreError, UnknownFeature
from saescope.store.format.manifest import Manifest
from saescope.store.format.paths import VersionPaths
from saescope.store.format.schema import TABLES
from saescope.store.format.tables import read_parquet
from saescope.store.read.index import IndexPool
from saescope.store.read.older_tables import modernised

T = TypeVar("T")


class Connection:
    """What every read of a version goes through. The index is opened by the first query; threads may share it."""

    def __init__(self, paths: VersionPaths, manifest: Manifest, indexes: IndexPool) -> None:
        self.paths = paths
        self.manifest = manifest
        self._indexes = indexes

    @property
    def sae_id(self) -> str:
        return self.manifest.sae_id

    @property
    def tables(self) -> list[str]:
        """Names of the tables that this version has, in the schema's order."""
        return [name for name in TABLES if self.has_table(name)]

    def has_table(self, name: str) -> bool:
        return f"{name}.parquet" in self.manifest.files

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A whole table, from its Parquet file. Raises `StoreError` if the entry has none of that name."""
        if not self.has_table(name):
            raise StoreError(f"{self.sae_id} has no table {name!r}", f"it has {', '.join(self.tables)}")
        return modernised(name, read_parquet(self.paths.table(name), columns), self.manifest.tables_version)

    def sql(self, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> pa.Table:
        """The rows of a read-only SQL statement over this version's tables, with bound parameters."""
        return self._read(lambda cursor: cursor.sql(statement, params=parameters).to_arrow_table())

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The same as tuples, which is faster for few rows."""
        return self._read(lambda cursor: cursor.execute(statement, parameters).fetchall())

    def arrays(self, statement: str) -> dict[str, np.ndarray]:
        """The same as an array per column."""
        return self._read(lambda cursor: cursor.execute(statement).fetchnumpy())

    def _read(self, run: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        return self._indexes.read(self.paths, self.manifest, run)

    def check_feature(self, feature_id: int) -> int:
        """`feature_id` as int, or `UnknownFeature`."""
        n = self.manifest.n_features
        known = isinstance(feature_id, (int, np.integer)) and 0 <= feature_id < n
        if not known or isinstance(feature_id, bool):
            raise UnknownFeature(f"{self.sae_id} has no feature {feature_id!r}", f"its features are 0 to {n - 1}")
        return int(feature_id)


def among(column: str, n: int) -> str:
    """SQL of `column` being one of n parameters; a list of them is found by the column's order, a join is not."""
    return f"{column} IN ({', '.join('?' * n)})" if n else "false"
