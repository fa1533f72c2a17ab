"""Pictures as files: one, or a folder with sub-folders as labels and train/ and test/ as splits."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.options import ImageOptions
from saescope.sources.images.pictures import Fit, load_pictures
from saescope.sources.options import Split
from saescope.store.errors import UserError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"}
)
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
"""The first of these that exists is the test split."""


class FilePictures:
    """Encoded pictures that are read from their files when asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return str(self._paths[index])

    def read(self, indices: Sequence[int]) -> list[bytes]:
        return [self._read(self._paths[i]) for i in indices]

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class PictureData:
    """Files of pictures under `roots`: split (or 'all') -> folder or file."""

    options: ImageOptions
    roots: dict[str, Path]
    format: str = "pictures"
    uses: frozenset[str] = frozenset({"value_range"})
    fit: Fit | None = None
    """Brings pictures of unequal size to one."""

    @property
    def splits(self) -> Sequence[Split]:
        return ("train", "test") if {"train", "test"} <= self.roots.keys() else ()

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        roots = [self.roots[split]] if split in self.roots else list(self.roots.values())
        paths: list[Path] = []
        labels: list[str | None] = []
        names: list[str] = []
        for root in roots:
            found = [root] if root.is_file() else pictures_under(root)
            base = root.parent if root.is_file() else root
            for path in found:
                relative = path.relative_to(base)
                paths.append(path)
                labels.append(relative.parts[0] if len(relative.parts) > 1 else None)
                names.append(relative.as_posix() if len(roots) == 1 else f"{root.name}/{relative.as_posix()}")
        options = self.options
        loaded = load_pictures(
            FilePictures(paths), options.image_mode, options.path, progress, self.fit, options.value_range
        )
        # A single sub-folder is where the pictures lie, not what they show.
        known = pa.array(labels, pa.string()) if len(set(labels) - {None}) > 1 else None
        details = {"file": pa.array(names, pa.string())}
        return ImageSet(loaded.stack, known, details=details, is_fitted=loaded.is_fitted).by_page(
            loaded.files, loaded.pages
        )


def find_in_folder(folder: Path, options: ImageOptions) -> PictureData | None:
    """The pictures of a folder, or None where there are none."""
    while True:  # an unpacked archive often holds one folder and nothing else
        folders = {p.name.lower(): p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name)}
        roots = {
            split: folders[name]
            for split, names in (("train", TRAIN_NAMES), ("test", TEST_NAMES))
            if (name := next((n for n in names if n in folders and _any_picture(folders[n])), None))
        }
        if len(roots) == 2:
            return PictureData(options, roots)
        if len(folders) != 1 or any(p.suffix.lower() in SUFFIXES for p in folder.iterdir() if p.is_file()):
            return PictureData(options, {"all": folder}) if _any_picture(folder) else None
        folder = next(iter(folders.values()))


def pictures_under(folder: Path) -> list[Path]:
    """All files with a picture's suffix, in natural order of their path (img2 before img10); hidden ones left out."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not _hidden(f)]
        found += [Path(parent, f) for f in files if _is_picture_name(f)]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def natural_key(text: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sorts by path parts, digits as numbers, letters without case; the text itself breaks ties."""
    parts = [
        [(0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.split(r"([0-9]+)", part.casefold()) if t]
        for part in text.split("/")
    ]
    return parts, text


def _any_picture(folder: Path) -> bool:
    return any(
        _is_picture_name(f) for parent, _, files in os.walk(folder) for f in files if not _hidden(Path(parent).name)
    )


def _is_picture_name(name: str) -> bool:
    return not _hidden(name) and Path(name).suffix.lower() in SUFFIXES


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
