"""Pictures as files: one, or a folder with sub-folders as labels and train/ and test/ as splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saescope.progress import SILENT, Progress
from saescope.sources.files import listed, natural_key
from saescope.sources.images.image_data import ImageSet
from saescope.sources.images.options import ImageOptions
from saescope.sources.images.pictures import Fit, load_pictures
from saescope.sources.options import Split
from saescope.sources.splits import WORDS, parts_of, splits_of
from saescope.sources.streams import printable
from saescope.store.errors import DataError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm", ".pnm"}
)


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
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class PictureData:
    """Files of pictures under `roots`: split (or 'all') -> folder or file."""

    options: ImageOptions
    roots: dict[str, Path]
    format: str = "pictures"
    uses: frozenset[str] = frozenset({"value_range"})
    fit: Fit | None = None
    """Brings pictures of unequal size to one."""
    rest: tuple[Path, ...] = ()
    """Pictures and folders of them beside the splits, which belong to none."""

    @property
    def splits(self) -> Sequence[Split]:
        return splits_of(self.roots)

    def load(self, split: Split | None, progress: Progress = SILENT) -> ImageSet:
        if self.rest:
            names = listed([printable(path.name) for path in self.rest], 5)
            progress.tell(f"{self.options.path}: of no split, and read with --split all alone: {names}")
        if others := _others_under(Path(self.options.path).expanduser()):
            progress.tell(f"{self.options.path}: not read, as they are no pictures by their names: {listed(others, 5)}")
        roots = parts_of(self.roots, split, self.options.path)
        paths: list[Path] = []
        labels: list[str | None] = []
        names_below: list[str] = []
        for root in [*roots, *(self.rest if split in (None, "all") else ())]:
            found = [root] if root.is_file() else pictures_under(root)
            base = root.parent if root.is_file() else root
            for path in found:
                relative = path.relative_to(base)
                paths.append(path)
                labels.append(printable(relative.parts[0]) if len(relative.parts) > 1 else None)
                name = printable(relative.as_posix())
                is_below = len(roots) > 1 and root.is_dir()
                names_below.append(f"{printable(root.name)}/{name}" if is_below else name)
        options = self.options
        loaded = load_pictures(
            FilePictures(paths), options.image_mode, options.path, progress, self.fit, options.value_range
        )
        # A single sub-folder is where the pictures lie, not what they show.
        known = pa.array(labels, pa.string()) if len(set(labels) - {None}) > 1 else None
        details = {"file": pa.array(names_below, pa.string())}
        return ImageSet(loaded.stack, known, details=details, is_fitted=loaded.is_fitted).by_page(
            loaded.files, loaded.pages
        )


def find_in_folder(folder: Path, options: ImageOptions) -> PictureData | None:
    """The pictures of a folder, or None where there are none."""
    while True:  # an unpacked archive often holds one folder and nothing else
        folders = {p.name.lower(): p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name)}
        roots = {
            split: folders[name]
            for split, words in WORDS.items()
            if (name := next((n for n in words if n in folders and _any_picture(folders[n])), None))
        }
        if splits_of(roots):
            others = [p for p in sorted(folder.iterdir()) if p not in roots.values() and not _hidden(p.name)]
            rest = [p for p in others if (_any_picture(p) if p.is_dir() else _is_picture(p))]
            return PictureData(options, roots, rest=tuple(rest))
        if len(folders) != 1 or any(p.suffix.lower() in SUFFIXES for p in folder.iterdir() if p.is_file()):
            return PictureData(options, {"all": folder}) if _any_picture(folder) else None
        folder = next(iter(folders.values()))


def pictures_under(folder: Path) -> list[Path]:
    """All files with a picture's suffix, in natural order of their path (img2 before img10); hidden ones left out."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not _hidden(f)]
        found += [path for f in files if _is_picture(path := Path(parent, f))]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def _others_under(folder: Path) -> list[str]:
    """Names below the folder of all that is no picture; hidden files left out."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not _hidden(f)]
        paths = [Path(parent, f) for f in files if not _hidden(f)]
        found += [path.relative_to(folder).as_posix() for path in paths if not _is_picture(path)]
    return [printable(name) for name in sorted(found, key=natural_key)]


def _any_picture(folder: Path) -> bool:
    return any(
        _is_picture_name(f) for parent, _, files in os.walk(folder) for f in files if not _hidden(Path(parent).name)
    )


def _is_picture_name(name: str) -> bool:
    return not _hidden(name) and Path(name).suffix.lower() in SUFFIXES


def _is_picture(path: Path) -> bool:
    """Of a picture's name, and no pipe or device."""
    return _is_picture_name(path.name) and path.is_file()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
