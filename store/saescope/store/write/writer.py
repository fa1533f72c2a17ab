"""Building and publishing one version of an entry.

A build lives in `saes/<sae_id>/.building-<key>/` until it is published: each file appears there in full or not at
all, so a build that was cut off goes on from the files that are there. Publishing writes the manifest and the index,
makes every file read-only, renames the folder to the version's name and replaces CURRENT, each step durable before
the next: at any moment a reader finds the old version or the new one, whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pyarrow as pa

from saescope.store.atomic import (
    StorageError,
    fsync_dir,
    fsync_file,
    is_temporary,
    make_folder,
    replacing,
    storage_errors,
    write_text,
)
from saescope.store.errors import StoreError
from saescope.store.format.current import read_current
from saescope.store.format.hashing import hash_file
from saescope.store.format.manifest import Manifest
from saescope.store.format.marker import create_store
from saescope.store.format.paths import EntryPaths, VersionPaths
from saescope.store.format.schema import TABLES, TABLES_VERSION
from saescope.store.format.tables import write_parquet
from saescope.store.read import index

_STATE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_TIME_IN_NAMES = "%Y%m%dt%H%M%S%fz"
_CHECKPOINT_FILES = ("sae/cfg.json", "sae/sae.safetensors")


def _lock(entry: EntryPaths, sae_id: str) -> int:
    """An exclusive lock on building this entry; the system lets go of it when the process ends, however it ends."""
    with storage_errors(f"write {entry.lock}"):
        descriptor = os.open(entry.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreError(
            f"{sae_id} is being built by another process" + (f" (pid {holder})" if holder.isdigit() else ""),
            "wait for it to end, or build under another sae_id",
        ) from None
    os.truncate(descriptor, 0)
    with suppress(OSError):  # only the message to a second writer needs it, so a full disk does not matter
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


class EntryWriter:
    """A resumable build of entry `sae_id` in the store at `root`, which is made if it is missing.

    `key` is a hash of everything that decides the result (1 to 64 of a-z 0-9 -): the same key goes on with the same
    build. The writer holds a lock on the entry until `publish`, `discard` or `close`; it is a context manager.

    Raises `StoreError` where the id or the store is not valid or another process builds this entry, `StorageError`
    where the disk refuses.
    """

    def __init__(self, root: Path | str, sae_id: str, key: str) -> None:
        self.sae_id = sae_id
        self.key = key
        store = create_store(root)
        self._entry = store.entry(sae_id)
        self.paths: VersionPaths = self._entry.building(key)
        make_folder(self._entry.root)
        self._unlock = weakref.finalize(self, os.close, _lock(self._entry, sae_id))
        self.published: str | None = self._adopt()
        """The version that is live with this very key: nothing is left to build. None otherwise."""
        if self.published is None:
            make_folder(self.paths.checkpoint)
            make_folder(self.paths.state)
            self._sweep_temporary()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock; the build stays and can be resumed."""
        self._unlock()

    def _adopt(self) -> str | None:
        """Finish a publication that was cut off between its last two steps; the live version if it has our key."""
        current = read_current(self._entry) if self._entry.current.exists() else None
        for name in reversed(self._entry.versions()):
            with suppress(StoreError):
                if Manifest.read(self._entry.version(name).manifest).build_key != self.key:
                    continue
                if current is None or name > current:
                    self._point_to(name)
                    return name
                if name == current:
                    return name
        return None

    def _sweep_temporary(self) -> None:
        for path in self.paths.root.rglob(".*"):
            if is_temporary(path):
                path.unlink(missing_ok=True)

    def has(self, table: str) -> bool:
        """Whether the table is already written by this build."""
        return self.paths.table(table).is_file()

    def has_checkpoint(self) -> bool:
        """Whether the checkpoint is already copied by this build."""
        return all(self.paths.file(name).is_file() for name in _CHECKPOINT_FILES)

    def write_table(self, name: str, rows: pa.Table | Iterable[pa.RecordBatch]) -> None:
        """Write one table: see `tables.write_parquet`. A table that is there already is replaced."""
        if name not in TABLES:
            raise ValueError(f"no table {name!r} in the schema; there are {', '.join(TABLES)}")
        write_parquet(self.paths.table(name), name, rows)

    def write_checkpoint(self, folder: Path | str) -> None:
        """Copy cfg.json and sae.safetensors from a native checkpoint. Raises `StoreError` if one is missing."""
        sources = {name: Path(folder) / Path(name).name for name in _CHECKPOINT_FILES}
        missing = [p.name for p in sources.values() if not p.is_file()]
        if missing:
            raise StoreError(f"{folder} has no {' and no '.join(missing)}", "give the folder of a native checkpoint")
        for name, source in sources.items():
            with replacing(self.paths.file(name)) as temporary:
                shutil.copyfile(source, temporary)

    def state_path(self, name: str) -> Path:
        """A file of the running build that is not part of the result: dropped on publishing."""
        if not _STATE_PATTERN.fullmatch(name):
            raise ValueError(f"not a valid name of a state file: {name!r}")
        return self.paths.state / name

    def discard(self) -> None:
        """Throw the build away and let go of the lock. What is published stays."""
        shutil.rmtree(self.paths.root, ignore_errors=True)
        self.close()

    def publish(self, manifest: Manifest) -> str:
        """Make the build the entry's live version and return the version's name.

        Fills in `version`, `tables_version`, `weights_sha256`, `files` and `build_key`. The version that was live
        before stays on disk for readers that have it open; older ones and builds with other keys are removed. Raises
        `StoreError` where a required table or the checkpoint is missing, `StorageError` where the disk refuses; the
        build stays then.
        """
        tables = [name for name in TABLES if self.has(name)]
        missing = [f"{t.name}.parquet" for t in TABLES.values() if t.required and t.name not in tables]
        missing += [name for name in _CHECKPOINT_FILES if not self.paths.file(name).is_file()]
        if missing:
            raise StoreError(f"cannot publish {self.sae_id}: {', '.join(missing)} not written yet")
        with storage_errors(f"publish {self.sae_id}"):
            before = self._entry.current.read_text().strip() if self._entry.current.exists() else None
            files = {f"{name}.parquet": hash_file(self.paths.table(name)) for name in tables}
            files |= {name: hash_file(self.paths.file(name)) for name in _CHECKPOINT_FILES}
            self._sweep_temporary()
            digest = hashlib.sha256(repr(sorted((n, f["sha256"]) for n, f in files.items())).encode()).hexdigest()
            name = self._fresh_name(digest[:8])
            manifest = replace(
                manifest,
                sae_id=self.sae_id,
                version=name,
                tables_version=TABLES_VERSION,
                files=files,
                weights_sha256=files["sae/sae.safetensors"]["sha256"],
                build_key=self.key,
            )
            write_text(self.paths.manifest, manifest.to_json())
            mark = self.paths.index(index.fingerprint(manifest))
            for stale in self.paths.root.glob("index-*"):
                stale.unlink()
            index.build_index(self.paths, manifest, tables, mark)
            shutil.rmtree(self.paths.state)
            keep = [self.paths.manifest, mark, *(self.paths.file(n) for n in files)]
            for path in keep:
                path.chmod(0o444)
            fsync_file(mark)
            fsync_dir(self.paths.checkpoint)
            fsync_dir(self.paths.root)
            self.paths.root.rename(self._entry.version(name).root)
            fsync_dir(self._entry.root)
            self._point_to(name)
        self.published = name
        self._sweep(keep={name, before or name})
        self.close()
        return name

    def _fresh_name(self, digest: str) -> str:
        """A name that sorts after every version there is, even where the clock was set back."""
        time = datetime.now(UTC)
        for newest in self._entry.versions()[-1:]:
            with suppress(ValueError):
                last = datetime.strptime(newest.partition("-")[0], _TIME_IN_NAMES).replace(tzinfo=UTC)
                time = max(time, last + timedelta(microseconds=1))
        return f"{time.strftime(_TIME_IN_NAMES)}-{digest}"

    def _point_to(self, name: str) -> None:
        write_text(self._entry.current, name + "\n")

    def _sweep(self, keep: set[str]) -> None:
        """Remove versions that nobody needs and what cut-off builds left; trouble here undoes no publication."""
        with suppress(OSError, StorageError):
            for name in self._entry.versions():
                if name not in keep:
                    self._entry.version(name).root.rename(self._entry.removed(name))
            for leftover in list(self._entry.leftovers()):
                shutil.rmtree(leftover, ignore_errors=True)
            for path in self._entry.root.glob(".*"):
                if is_temporary(path):
                    path.unlink(missing_ok=True)
