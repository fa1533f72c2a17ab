"""What people add to features: labels, stars, comments, lists. An append-only SQLite journal.

Rows are keyed by the weights' hash and the feature, so they follow an SAE through every version and entry that is
made of it. Nothing is ever overwritten: the current state is the latest row, and the history tells who and when.
SQLite (in WAL mode) lets any number of processes of one machine read while one writes; keep it on a local disk.
"""

from __future__ import annotations

import getpass
import sqlite3
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from saescope.store.errors import OptionError, StorageError, StoreError, UnknownFeature, UserError
from saescope.store.records import Record

ANNOTATIONS_VERSION = 1
MAX_TEXT = 10_000
PATIENCE = 30.0  # seconds to wait while other processes write
_KINDS = ("label", "star", "comment", "comment_removed", "list", "list_removed")

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events (
    event_id INTEGER PRIMARY KEY,
    weights_sha256 TEXT NOT NULL,
    feature_id INTEGER NOT NULL CHECK (feature_id >= 0),
    kind TEXT NOT NULL CHECK (kind IN {_KINDS}),
    value TEXT,
    author TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_feature ON events (weights_sha256, feature_id);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'annotations are append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_are_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'annotations are append-only'); END;
PRAGMA user_version = {ANNOTATIONS_VERSION};
"""


@dataclass(frozen=True, repr=False)
class Event(Record):
    """One thing that somebody did. `value` is the label, the comment, the list's name, or the removed comment's id."""

    event_id: int
    feature_id: int
    kind: str
    value: str | None
    author: str
    created_at: str


@dataclass(frozen=True, repr=False)
class Annotation(Record):
    """The current state of one feature."""

    feature_id: int
    label: str | None = None
    starred: bool = False
    comments: list[Event] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    author: str | None = None
    """Who made the latest change; None where nobody made any."""
    updated_at: str | None = None
    """When: ISO 8601, UTC."""


class Annotations:
    """The journal at `path`, made by the first thing that somebody adds. Any number of threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._writable = False
        self._close: Any = None
        self._states: dict[str, tuple[int, dict[int, Annotation]]] = {}

    # writing

    def label(self, weights_sha256: str, feature_id: int, text: str | None, author: str | None = None) -> None:
        """Set the label; None or blank text takes it away. Raises `OptionError`, `StorageError`."""
        stripped = _text(text)
        self._append(weights_sha256, feature_id, "label", stripped or None, author)

    def star(self, weights_sha256: str, feature_id: int, starred: bool = True, author: str | None = None) -> None:
        """Star the feature, or take the star away."""
        self._append(weights_sha256, feature_id, "star", "1" if starred else None, author)

    def comment(self, weights_sha256: str, feature_id: int, text: str, author: str | None = None) -> int:
        """Add a comment; its event_id."""
        stripped = _text(text)
        if not stripped:
            raise OptionError("the comment is empty", "write a few words")
        return self._append(weights_sha256, feature_id, "comment", stripped, author)

    def remove_comment(self, weights_sha256: str, feature_id: int, event_id: int, author: str | None = None) -> None:
        """Hide a comment; the journal keeps it."""
        if event_id not in {c.event_id for c in self.state(weights_sha256, feature_id).comments}:
            raise OptionError(f"feature {feature_id} has no comment {event_id}")
        self._append(weights_sha256, feature_id, "comment_removed", str(event_id), author)

    def add_to_list(self, weights_sha256: str, feature_id: int, name: str, author: str | None = None) -> None:
        """Put the feature on the list `name`, which need not exist before."""
        self._append(weights_sha256, feature_id, "list", _list_name(name), author)

    def remove_from_list(self, weights_sha256: str, feature_id: int, name: str, author: str | None = None) -> None:
        """Take the feature off the list `name`."""
        self._append(weights_sha256, feature_id, "list_removed", _list_name(name), author)

    # reading

    def state(self, weights_sha256: str, feature_id: int) -> Annotation:
        """The current state of one feature."""
        return _state(int(feature_id), self.history(weights_sha256, feature_id))

    def history(self, weights_sha256: str, feature_id: int) -> list[Event]:
        """Everything that people did to one feature, oldest first."""
        return self._events("weights_sha256 = ? AND feature_id = ?", weights_sha256, int(feature_id))

    def states(self, weights_sha256: str) -> Mapping[int, Annotation]:
        """The current state of every feature of one SAE that anybody touched, by feature id."""
        revision = self.revision()
        with self._lock:
            known = self._states.get(weights_sha256)
        if known is not None and known[0] == revision:
            return known[1]
        by_feature: dict[int, list[Event]] = {}
        for event in self._events("weights_sha256 = ? AND event_id <= ?", weights_sha256, revision):
            by_feature.setdefault(event.feature_id, []).append(event)
        states = {i: _state(i, events) for i, events in sorted(by_feature.items())}
        with self._lock:
            self._states[weights_sha256] = (revision, states)
        return states

    def lists(self, weights_sha256: str) -> dict[str, list[int]]:
        """Every list that holds a feature of one SAE: name -> feature ids, ascending."""
        lists: dict[str, list[int]] = {}
        for i, state in self.states(weights_sha256).items():
            for name in state.lists:
                lists.setdefault(name, []).append(i)
        return dict(sorted(lists.items()))

    def revision(self) -> int:
        """Number of the latest event: reads that saw the same revision are still right."""
        rows = self._read("SELECT coalesce(max(event_id), 0) FROM events")
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._close is not None:
                self._close()
            self._connection, self._writable, self._close = None, False, None

    # inside

    def _events(self, where: str, *parameters: Any) -> list[Event]:
        columns = "event_id, feature_id, kind, value, author, created_at"
        rows = self._read(f"SELECT {columns} FROM events WHERE {where} ORDER BY event_id", *parameters)  # noqa: S608
        return [Event(*row) for row in rows]

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            connection = self._open(writable=False)
            if connection is None:
                return []
            try:
                return connection.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"cannot read {self._path}: {error}", "restore it from a backup") from error

    def _append(self, weights_sha256: str, feature_id: int, kind: str, value: str | None, author: str | None) -> int:
        if feature_id < 0:
            raise UnknownFeature(f"no feature {feature_id}", "features count from 0")
        who = (author or "").strip() or _user()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            connection = self._open(writable=True)
            assert connection is not None
            try:
                connection.execute("BEGIN IMMEDIATE")
                cursor = connection.execute(
                    "INSERT INTO events (weights_sha256, feature_id, kind, value, author, created_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (weights_sha256, int(feature_id), kind, value, who, now),
                )
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise _trouble(self._path, error) from error
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def _open(self, writable: bool) -> sqlite3.Connection | None:
        """The shared connection; None where there is no file yet and none is needed."""
        if self._connection is not None and (self._writable or not writable):
            return self._connection
        if not writable and not self._path.exists():
            return None
        self.close()
        try:
            connection, can_write = self._connect(writable)
        except sqlite3.Error as error:
            raise _trouble(self._path, error) from error
        self._connection, self._writable = connection, can_write
        self._close = weakref.finalize(self, connection.close)
        return connection

    def _connect(self, writable: bool) -> tuple[sqlite3.Connection, bool]:
        connection = self._sqlite("rwc" if writable else "rw")
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] > ANNOTATIONS_VERSION:
                raise StoreError(
                    f"{self._path} has a newer format than this saescope knows", "install a newer saescope"
                )
            _in_wal_mode(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] < ANNOTATIONS_VERSION:
                connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            return connection, True
        except sqlite3.OperationalError:
            connection.close()
            if writable:
                raise
        except BaseException:
            connection.close()
            raise
        for mode in ("ro", "ro&immutable=1"):  # a read-only folder has no room for WAL's own files
            connection = self._sqlite(mode)
            try:
                connection.execute("SELECT count(*) FROM events")
                return connection, False
            except sqlite3.OperationalError:
                connection.close()
        raise sqlite3.OperationalError("it cannot be read")

    def _sqlite(self, mode: str) -> sqlite3.Connection:
        uri = self._path.absolute().as_uri() + f"?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)


def _in_wal_mode(connection: sqlite3.Connection) -> None:
    """Switch to WAL, which SQLite does not wait for while another process is doing the same: so this tries again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _trouble(path: Path, error: sqlite3.Error) -> UserError:
    words = str(error)
    if "full" in words:
        return StorageError(f"cannot write {path}: the disk is full", "free some space and try again")
    if isinstance(error, sqlite3.OperationalError):
        return StorageError(f"cannot write {path}: {words}", "check who may write there")
    return StoreError(f"{path} is damaged: {words}", "restore it from a backup")


def _text(text: str | None) -> str:
    stripped = (text or "").strip()
    if len(stripped) > MAX_TEXT:
        raise OptionError(f"the text has {len(stripped):,} characters", f"use at most {MAX_TEXT:,}")
    if "\x00" in stripped:
        raise OptionError("the text holds a null character", "take it out")
    return stripped


def _list_name(name: str) -> str:
    stripped = _text(name)
    if not stripped or len(stripped) > 100:
        raise OptionError(f"not a valid name of a list: {name!r}", "use 1 to 100 characters")
    return stripped


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _state(feature_id: int, events: list[Event]) -> Annotation:
    label: str | None = None
    starred = False
    comments: dict[int, Event] = {}
    lists: dict[str, None] = {}
    for event in events:
        if event.kind == "label":
            label = event.value
        elif event.kind == "star":
            starred = event.value is not None
        elif event.kind == "comment":
            comments[event.event_id] = event
        elif event.kind == "comment_removed":
            comments.pop(int(event.value or 0), None)
        elif event.kind == "list":
            lists[event.value or ""] = None
        elif event.kind == "list_removed":
            lists.pop(event.value or "", None)
    last = events[-1] if events else None
    return Annotation(
        feature_id,
        label,
        starred,
        list(comments.values()),
        sorted(lists),
        last.author if last else None,
        last.created_at if last else None,
    )
