"""Files of a corpus, by split."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from saescope.models.cache import remembered_sha256
from saescope.sources.images.picture_folder import natural_key
from saescope.sources.options import Split
from saescope.store.errors import UserError

_SPLIT = re.compile(r"(?:^|[-_./])(train|training|test|testing|val|valid|validation)(?=[-_./]|$)", re.IGNORECASE)
_SMALL = 1 << 22
"""Bytes up to which reading a file costs less than remembering its hash."""


@dataclass(frozen=True)
class Files:
    """A corpus's files in natural order."""

    root: Path
    """The file or folder that was named."""
    by_split: dict[str, list[Path]]
    """'train' and 'test', or 'all'."""

    @property
    def splits(self) -> Sequence[Split]:
        return ("train", "test") if {"train", "test"} <= self.by_split.keys() else ()

    @property
    def all(self) -> list[Path]:
        return [path for found in self.by_split.values() for path in found]

    def of(self, split: Split | None) -> list[Path]:
        return self.by_split.get(split or "all", self.all)

    def name(self, path: Path) -> str:
        """The file's path below the folder."""
        return path.name if path == self.root else path.relative_to(self.root).as_posix()

    def fingerprint(self, split: Split | None, *details: object) -> str:
        """Hash of the names and contents of a split's files, and of `details`."""
        files = [(self.name(path), _sha256(path)) for path in self.of(split)]
        return hashlib.sha256(json.dumps([files, [str(d) for d in details]]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Of a file's bytes; that of a large file is remembered in the cache folder."""
    try:
        if path.stat().st_size > _SMALL:
            return remembered_sha256(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def one_file(path: Path) -> Files:
    return Files(path, {"all": [path]})


def files_in(folder: Path, suffixes: Sequence[str] | None) -> Files | None:
    """The files below a folder with one of `suffixes` (None: any), or None. Hidden ones are left out.

    Names or folders such as train-00000.parquet, test.jsonl and train/ tell the splits.
    """
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (suffixes is None or path.name.lower().endswith(tuple(suffixes)))
    ]
    if not found:
        return None
    ordered = sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))
    named: dict[str, list[Path]] = {}
    for path in ordered:
        match = _SPLIT.search(_stem(path.relative_to(folder).as_posix()))
        named.setdefault(match[1].lower().removesuffix("ing") if match else "", []).append(path)
    test = next((named[n] for n in ("test", "validation", "valid", "val") if n in named), None)
    if "train" in named and test is not None:
        return Files(folder, {"train": named["train"], "test": test})
    return Files(folder, {"all": ordered})


def open_bytes(path: Path) -> IO[bytes]:
    """The file, unpacked where it is gzipped (told by content)."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb")


def _stem(name: str) -> str:
    for suffix in (".gz", *(s for s in (Path(name.removesuffix(".gz")).suffix,) if s)):
        name = name.removesuffix(suffix)
    return name
