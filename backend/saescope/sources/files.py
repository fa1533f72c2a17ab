"""Files of a data set, in natural order and by split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from saescope.models.cache import remembered_sha256
from saescope.sources.options import Split
from saescope.sources.splits import REST, by_name, parts_of, splits_of
from saescope.sources.streams import bare_name, printable
from saescope.store.errors import DataError
from saescope.store.format.hashing import file_sha256

_SMALL = 1 << 22
"""Bytes up to which reading a file costs less than remembering its hash."""


@dataclass(frozen=True)
class Files:
    """A corpus's files in natural order."""

    root: Path
    """The file or folder that was named."""
    by_split: dict[str, list[Path]]
    """'train', 'test', 'validation' and 'rest', or 'all'."""
    left_out: tuple[Path, ...] = ()
    """Files of the folder that are not read."""

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.by_split)

    @property
    def all(self) -> list[Path]:
        return self.of("all")

    def of(self, split: Split | None) -> list[Path]:
        """The files of a split. `DataError` for validation where there is none."""
        return [path for found in parts_of(self.by_split, split, str(self.root)) for path in found]

    def name(self, path: Path) -> str:
        """The file's path below the folder, as text."""
        return printable(path.name if path == self.root else path.relative_to(self.root).as_posix())

    def notes(self) -> list[str]:
        """What a reader of these files should know."""
        notes = []
        if self.left_out:
            notes.append(f"{self.root}: not read, as they hold other data: {self._listed(self.left_out)}")
        if rest := self.by_split.get(REST):
            notes.append(f"{self.root}: of no split, and read with --split all alone: {self._listed(rest)}")
        return notes

    def _listed(self, paths: Sequence[Path]) -> str:
        return listed([self.name(path) for path in paths], 5)

    def fingerprint(self, split: Split | None, *details: object) -> str:
        """Hash of the names and contents of a split's files, and of `details`."""
        files = [(self.name(path), _sha256(path)) for path in self.of(split)]
        return hashlib.sha256(json.dumps([files, [str(d) for d in details]]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Of a file's bytes; that of a large file is remembered in the cache folder."""
    try:
        if path.stat().st_size > _SMALL:
            return remembered_sha256(path)
        return file_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


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


def files_of(folder: Path, found: Sequence[Path], left_out: Sequence[Path] = (), *, strictly: bool = False) -> Files:
    """The `found` files of a folder, in this order; the others, `left_out`, are not read.

    Names or folders such as train-00000.parquet, test.jsonl and train/ tell the splits, as `splits.by_name` says.
    """
    names = [_stem(path.relative_to(folder).as_posix()) for path in found]
    divided = {split: [found[i] for i in places] for split, places in by_name(names, strictly=strictly).items()}
    return Files(folder, divided or {"all": list(found)}, tuple(left_out))


def natural_key(text: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sorts by path parts, digits as numbers, letters without case; the text itself breaks ties."""
    parts = [
        [(0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.split(r"([0-9]+)", part.casefold()) if t]
        for part in text.split("/")
    ]
    return parts, text


def listed(names: Sequence[str], most: int = 12) -> str:
    """'a, b, c and 5 more', or 'nothing'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"


def _stem(name: str) -> str:
    """Without the suffixes of compression and format; upper and lower case as they are."""
    bare = name[: len(bare_name(name))]
    return Path(bare).with_suffix("").as_posix()
