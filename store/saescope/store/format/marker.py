"""store.json: what makes a folder a store, and in which format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from saescope.store.atomic import make_folder, storage_errors, write_text
from saescope.store.errors import StoreError, StoreFaults
from saescope.store.format.fields import field_faults, parse_object
from saescope.store.format.paths import StorePaths
from saescope.store.format.schema import FORMAT_NAME, FORMAT_VERSION


@dataclass(frozen=True)
class Marker:
    """What store.json holds."""

    format: str
    format_version: Annotated[int, msgspec.Meta(ge=1)]


_RESTORE = "restore this small file: docs/store-format.md says what it holds"


def read_marker(paths: StorePaths) -> int:
    """The format version of a store. Raises `StoreError` if it is no store or of a newer format."""
    with storage_errors(f"open the store {paths.root}"):
        return _read(paths)


def _read(paths: StorePaths) -> int:
    root = paths.root
    if root.is_file():
        raise StoreError(f"{root} is a file, expected the folder of a store", "give the folder that holds store.json")
    if not root.is_dir():
        raise StoreError(f"there is no store at {root}", "check the path, or make one with saescope demo or build")
    try:
        content = parse_object(paths.marker.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{root} is not a store: it has no store.json", "give the folder that holds store.json"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {paths.marker}: {error}", _RESTORE) from error
    except ValueError as error:
        raise StoreError(f"{paths.marker} {error}", _RESTORE) from None
    if content.get("format") != FORMAT_NAME:
        raise StoreError(
            f'{paths.marker} does not say "format": "{FORMAT_NAME}"', "give the folder of a saescope store"
        )
    faults = field_faults(Marker, content)
    if faults:
        raise StoreFaults(str(paths.marker), faults, _RESTORE)
    version: int = content["format_version"]
    if version > FORMAT_VERSION:
        raise StoreError(
            f"the store {root} has format {version}; this saescope reads formats up to {FORMAT_VERSION}",
            "install a newer saescope: pip install --upgrade saescope",
        )
    return version


def open_store(root: Path | str) -> StorePaths:
    """The paths of an existing store, once its marker is checked. Raises `StoreError`."""
    paths = StorePaths(Path(root))
    read_marker(paths)
    return paths


def create_store(root: Path | str) -> StorePaths:
    """Open the store at `root`, making it if the folder is missing or empty.

    Raises `StoreError` for a file, a folder of other things or a newer format; `StorageError` where the disk refuses.
    """
    paths = StorePaths(Path(root))
    with storage_errors(f"open the store {root}"):
        _make(paths)
    read_marker(paths)
    make_folder(paths.entries)
    return paths


def _make(paths: StorePaths) -> None:
    if paths.root.is_dir() and not paths.marker.exists():
        foreign = sorted(p.name for p in paths.root.iterdir() if not p.name.startswith("."))
        if foreign:
            shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
            raise StoreError(
                f"{paths.root} is not a store and not empty (it holds {shown})", "choose a new or an empty folder"
            )
    if not paths.root.is_file() and not paths.marker.exists():
        make_folder(paths.root)
        marker = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION}
        write_text(paths.marker, json.dumps(marker) + "\n")
