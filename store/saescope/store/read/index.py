"""The index of a version: its Parquet tables in one DuckDB file, a disposable cache that is rebuilt at any time.

The file's name carries a fingerprint of what it was made from and by, so a file of that name is never replaced by
another content. Where the version's folder cannot be written, the index goes to the user's cache folder, and failing
that to a folder that lives as long as the process.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import duckdb

from saescope.store.errors import StorageError, StoreError
from saescope.store.format.manifest import Manifest
from saescope.store.format.paths import VersionPaths
from saescope.store.format.schema import TABLES
from saescope.store.read.older_tables import selection
from saescope.store.write.atomic import make_folder, temporary_name

INDEX_LAYOUT = 2
"""Raise when the index is made differently from the same Parquet files."""

_ROWS_PER_GROUP = 8_192  # a lookup reads whole groups: small ones make it 2 to 3 times faster
_ROWS_PER_GROUP_LARGE = 65_536
_LARGE_BYTES = 200_000_000
_SMALL_BYTES = 2_000_000

_Settings = dict[str, str | bool | int | float | list[str]]
_BUILD_SETTINGS: _Settings = {
    "threads": "2",
    "memory_limit": "2GB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_READ_SETTINGS: _Settings = _BUILD_SETTINGS | {"enable_external_access": "false", "lock_configuration": "true"}


def fingerprint(manifest: Manifest) -> str:
    """12 hexadecimal digits that tell an index by its Parquet files and their meaning, its layout, and its DuckDB."""
    parquet = {name: entry["sha256"] for name, entry in manifest.files.items() if name.endswith(".parquet")}
    made_from = json.dumps([INDEX_LAYOUT, manifest.tables_version, duckdb.__version__, sorted(parquet.items())])
    return hashlib.sha256(made_from.encode()).hexdigest()[:12]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def build_index(version: VersionPaths, manifest: Manifest, tables: list[str], out: Path) -> None:
    """Make the index of `tables` at `out`, which appears only once it is complete.

    Raises `StoreError` where a Parquet file is damaged or the disk refuses.
    """
    temporary = temporary_name(out)
    try:
        n_bytes = sum(version.table(name).stat().st_size for name in tables)
        layout = f"ROW_GROUP_SIZE {_ROWS_PER_GROUP if n_bytes < _LARGE_BYTES else _ROWS_PER_GROUP_LARGE}"
        if n_bytes < _SMALL_BYTES:
            layout += ", BLOCK_SIZE 16384"  # a table takes one block at least, by default of 256 kB
        with duckdb.connect(config=_BUILD_SETTINGS) as connection:
            connection.execute(f"ATTACH {_quoted(temporary)} AS made ({layout})")
            for name in tables:
                source = f"read_parquet({_quoted(version.table(name))}, hive_partitioning = false)"
                columns = selection(name, manifest.tables_version)
                connection.execute(f'CREATE TABLE made."{name}" AS SELECT {columns} FROM {source}')  # noqa: S608 - ours
            connection.execute("DETACH made")  # writes everything out
        temporary.replace(out)
    except (duckdb.Error, OSError) as error:
        words = str(error).splitlines()[0]
        if "space left" in words.lower() or "too large" in words.lower():
            raise StorageError(f"cannot write the index {out}: {words}", "free some space and run it again") from error
        raise StoreError(f"cannot build the index of {version.root}: {words}", "run saescope verify") from error
    finally:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with suppress(OSError):
                leftover.unlink()


def _open_index(path: Path, tables: list[str]) -> duckdb.DuckDBPyConnection | None:
    """A hardened read-only connection, or None where the file is missing, damaged, foreign or incomplete."""
    if not path.is_file():
        return None
    try:
        connection = duckdb.connect(str(path), read_only=True, config=_READ_SETTINGS)
        present = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    except duckdb.Error:
        return None
    if not set(tables) <= present:
        connection.close()
        return None
    return connection


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base else Path("~").expanduser() / ".cache") / "saescope"


_process_folder: list[Path] = []


def _temporary_folder() -> Path:
    if not _process_folder:
        _process_folder.append(Path(tempfile.mkdtemp(prefix="saescope-index-")))
        atexit.register(shutil.rmtree, _process_folder[0], ignore_errors=True)
    return _process_folder[0]


def connect(version: VersionPaths, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """Open the index of a published version, building it first where it is missing or unusable.

    Raises `StoreError` where it can be built nowhere (a Parquet file is damaged, or every disk is full).
    """
    if not version.manifest.is_file():
        raise StoreError(
            f"version {manifest.version} of {manifest.sae_id} is gone: it was replaced by newer ones",
            f"open the entry again: store[{manifest.sae_id!r}]",
        )
    tables = [name for name in TABLES if f"{name}.parquet" in manifest.files]
    mark = fingerprint(manifest)
    failure: StoreError | None = None
    for folder in (lambda: version.root, _cache_folder, _temporary_folder):
        try:
            path = VersionPaths(folder()).index(mark)
            connection = _open_index(path, tables)
            if connection is not None:
                return connection
            make_folder(path.parent)
            build_index(version, manifest, tables, path)
            connection = _open_index(path, tables)
            if connection is not None:
                return connection
        except (StoreError, StorageError, OSError) as error:
            failure = failure or (error if isinstance(error, StoreError) else StoreError(str(error)))
    raise failure or StoreError(f"cannot open the index of {version.root}", "run saescope verify")


class IndexPool:
    """Open indexes by version, the most recently used `capacity` of them. Safe to use from many threads.

    An index that is dropped closes when its last query ends.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._open: OrderedDict[Path, duckdb.DuckDBPyConnection] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}

    def cursor(self, version: VersionPaths, manifest: Manifest) -> duckdb.DuckDBPyConnection:
        """A connection of its own for one call: threads must not share one. Only an index being built is waited for."""
        with self._lock:
            opening = self._opening.setdefault(version.root, threading.Lock())
        with opening:
            with self._lock:
                known = self._open.get(version.root)
                if known is not None:
                    self._open.move_to_end(version.root)
                    return known.cursor()
            made = connect(version, manifest)
            with self._lock:
                self._open[version.root] = made
                while len(self._open) > self._capacity:
                    self._open.popitem(last=False)
                return made.cursor()

    def close(self) -> None:
        """Close every index now."""
        with self._lock:
            for connection in self._open.values():
                connection.close()
            self._open.clear()
