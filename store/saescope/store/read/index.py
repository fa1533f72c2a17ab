"""The index of a version: its Parquet tables in one DuckDB file, a disposable cache that is rebuilt at any time.

The file's name carries a fingerprint of what it was made from and by, so a file of that name is never replaced by
another content. Where the version's folder cannot be written, the index goes to the user's cache folder, and failing
that to a folder that lives as long as the process.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from saescope.store.atomic import make_folder, temporary_name
from saescope.store.errors import StorageError, StoreError
from saescope.store.format.manifest import Manifest
from saescope.store.format.paths import VersionPaths
from saescope.store.format.schema import TABLES
from saescope.store.read.older_tables import selection

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

_ATTEMPTS = 3
"""Reads of an index that proves damaged, and is built anew: one that another thread still reads stays open."""
_OF_FILES = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)

T = TypeVar("T")


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


def connect(version: VersionPaths, manifest: Manifest, *, anew: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the index of a published version, building it first where it is missing or unusable, or `anew` wanted.

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
            connection = None if anew else _open_index(path, tables)
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


def _is_damage(error: duckdb.Error) -> bool:
    """Whether a read failed by the index's file, not by the statement."""
    return isinstance(error, _OF_FILES) or "corrupt" in str(error).lower()


class IndexPool:
    """Open indexes by version, the most recently used `capacity` of them. Safe to use from many threads.

    An index that is dropped closes when its last query ends.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._open: OrderedDict[Path, tuple[int, duckdb.DuckDBPyConnection]] = OrderedDict()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._opening: dict[Path, threading.Lock] = {}

    def read(self, version: VersionPaths, manifest: Manifest, run: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What `run` makes of a connection of its own: threads must not share one.

        An index that proves damaged as it is read is built again. Raises `StoreError` where that is in vain.
        """
        damaged, words = None, ""
        for _ in range(_ATTEMPTS):
            number, cursor = self._opened(version, manifest, damaged)
            try:
                return run(cursor)
            except duckdb.Error as error:
                if not _is_damage(error):
                    raise
                damaged, words = number, str(error).splitlines()[0]
            finally:
                cursor.close()
        raise StoreError(
            f"cannot read the index of {version.root}: {words}",
            "try again; if that does not help, delete its index-*.duckdb: it is built again from the Parquet files",
        )

    def _opened(
        self, version: VersionPaths, manifest: Manifest, damaged: int | None
    ) -> tuple[int, duckdb.DuckDBPyConnection]:
        """The number of the open index and a cursor of it; a new one where it is still `damaged`. Only an index being
        built is waited for."""
        with self._lock:
            opening = self._opening.setdefault(version.root, threading.Lock())
        with opening:
            with self._lock:
                known = self._open.pop(version.root, None)
                if known is not None and known[0] != damaged:
                    self._open[version.root] = known
                    return known[0], known[1].cursor()
            del known  # closes it: DuckDB gives an open file to whoever opens its path again
            made = connect(version, manifest, anew=damaged is not None)
            with self._lock:
                number = next(self._numbers)
                self._open[version.root] = number, made
                while len(self._open) > self._capacity:
                    self._open.popitem(last=False)
                return number, made.cursor()

    def close(self) -> None:
        """Close every index now."""
        with self._lock:
            for _, connection in self._open.values():
                connection.close()
            self._open.clear()
