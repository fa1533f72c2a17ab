"""Hashes of files, which what was built from them is known by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 22


def file_sha256(path: Path, read: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file's content, in hexadecimal digits. `read` gets the number of bytes read so far, now and then.

    Raises `OSError` where the file cannot be read.
    """
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if read is not None:
                read(done)
    return digest.hexdigest()


def hash_file(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: "sha256" and "bytes"."""
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}
