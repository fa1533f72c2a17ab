"""Files of a corpus, by split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saescope.models.cache import remembered_sha256
from saescope.sources.images.picture_folder import natural_key
from saescope.sources.options import Split
from saescope.sources.streams import bare_name
from saescope.sources.texts.documents import listed
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
    left_out: tuple[Path, ...] = ()
    """Files of the folder that are not read."""

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

    def notes(self) -> list[str]:
        """What a reader of these files should know."""
        if not self.left_out:
            return []
        names = listed([self.name(path) for path in self.left_out], 5)
        return [f"{self.root}: not read, as they hold none of the texts: {names}"]

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


def all_files(folder: Path) -> list[Path]:
    """The files below a folder, in natural order; hidden ones are left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def files_of(folder: Path, found: Sequence[Path], left_out: Sequence[Path] = ()) -> Files:
    """The `found` files of a folder, in this order; the others, `left_out`, are not read.

    Names or folders such as train-00000.parquet, test.jsonl and train/ tell the splits.
    """
    named: dict[str, list[Path]] = {}
    for path in found:
        match = _SPLIT.search(_stem(path.relative_to(folder).as_posix()))
        named.setdefault(match[1].lower().removesuffix("ing") if match else "", []).append(path)
    test = next((named[n] for n in ("test", "validation", "valid", "val") if n in named), None)
    if "train" in named and test is not None:
        return Files(folder, {"train": named["train"], "test": test}, tuple(left_out))
    return Files(folder, {"all": list(found)}, tuple(left_out))


def _stem(name: str) -> str:
    return Path(bare_name(name)).with_suffix("").as_posix()
