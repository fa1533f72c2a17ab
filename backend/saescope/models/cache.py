"""The folder of what can be made again: dequantised models, hashes of large files, activations, tokenised texts."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from saescope.progress import SILENT, Progress
from saescope.store import atomic
from saescope.store.errors import DataError
from saescope.store.format.hashing import file_sha256


def cache_folder() -> Path:
    """$SAESCOPE_CACHE, else $XDG_CACHE_HOME/saescope, else ~/.cache/saescope. It need not exist yet."""
    own = os.environ.get("SAESCOPE_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "saescope"


def remembered_sha256(path: Path, progress: Progress = SILENT) -> str:
    """SHA-256 of a file. Remembered in the cache folder, by path, size and time of change, so that it is read once.

    Raises `DataError` where the file cannot be read.
    """
    path = path.resolve()
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    key = hashlib.sha256(os.fsencode(f"{path}\n{status.st_size}\n{status.st_mtime_ns}")).hexdigest()
    note = cache_folder() / "hashes" / f"{key[:32]}.json"
    try:
        known = json.loads(note.read_text())
        if known["path"] == str(path) and len(known["sha256"]) == 64:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not seen before, or damaged: it is read again
    try:
        sha256 = file_sha256(path, lambda done: progress.update(f"hashing {path.name}", done, status.st_size))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    atomic.make_folder(note.parent)
    atomic.write_text(note, json.dumps({"path": str(path), "sha256": sha256}))
    return sha256
