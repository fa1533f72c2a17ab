"""Where every file of a store lies. No other module joins a store path.

STORE/store.json                          format and format version
STORE/annotations.sqlite                  what people add
STORE/anomalies/<name>/                   an anomaly report: manifest.json and tables, immutable
STORE/saes/<sae_id>/CURRENT               name of the live version, replaced atomically
STORE/saes/<sae_id>/<version>/            immutable once CURRENT names it
STORE/saes/<sae_id>/.building-<key>/      a build in progress; resumed, or swept away
STORE/saes/<sae_id>/.lock                 held (flock) by the one process that builds this entry
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saescope.store.errors import StoreError

SAE_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
VERSION_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FILE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def validate_sae_id(sae_id: str) -> str:
    """Return `sae_id` unchanged if it may name a folder of a store, else raise `StoreError`."""
    if not SAE_ID_PATTERN.fullmatch(sae_id):
        raise StoreError(
            f"not a valid sae_id: {sae_id!r}",
            "use 1 to 100 of a-z 0-9 . _ - and start with a letter or digit, e.g. mnist-topk-k16",
        )
    return sae_id


@dataclass(frozen=True)
class VersionPaths:
    """Files of one version of one entry (published or being built)."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def checkpoint(self) -> Path:
        """Folder with the SAE in the native format: cfg.json and sae.safetensors."""
        return self.root / "sae"

    @property
    def config(self) -> Path:
        return self.checkpoint / "cfg.json"

    @property
    def weights(self) -> Path:
        return self.checkpoint / "sae.safetensors"

    def table(self, name: str) -> Path:
        return self.root / f"{name}.parquet"

    def index(self, fingerprint: str) -> Path:
        return self.root / f"index-{fingerprint}.duckdb"

    @property
    def state(self) -> Path:
        """Folder of a running build's own files, dropped when the version is published."""
        return self.root / ".state"

    def file(self, name: str) -> Path:
        """A file by its name in the manifest's `files` ("features.parquet", "sae/cfg.json"); it stays inside."""
        parts = name.split("/")
        if not all(FILE_PATTERN.fullmatch(part) for part in parts):
            raise StoreError(f"not a valid file name of a version: {name!r}")
        return self.root.joinpath(*parts)


@dataclass(frozen=True)
class EntryPaths:
    """Files of one entry of a store."""

    root: Path

    @property
    def current(self) -> Path:
        return self.root / "CURRENT"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def versions(self) -> list[str]:
        """Names of the version folders, oldest first (names start with the time of publishing)."""
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if VERSION_PATTERN.fullmatch(p.name) and p.is_dir())

    def leftovers(self) -> Iterator[Path]:
        """Folders of builds in progress or cut off, and of versions that were being removed."""
        yield from sorted(self.root.glob(".building-*"))
        yield from sorted(self.root.glob(".removed-*"))

    def removed(self, version: str) -> Path:
        """Where a version goes before its files are deleted, so that half a version never looks published."""
        return self.root / f".removed-{version}"

    def version(self, name: str) -> VersionPaths:
        if not VERSION_PATTERN.fullmatch(name):
            raise StoreError(f"not a valid version name: {name!r} in {self.root}")
        return VersionPaths(self.root / name)

    def building(self, key: str) -> VersionPaths:
        """Folder of a build in progress; `key` is a hash of everything that decides its result."""
        if not VERSION_PATTERN.fullmatch(key):
            raise StoreError(f"not a valid build key: {key!r}", "use 1 to 64 of a-z 0-9 and -")
        return VersionPaths(self.root / f".building-{key}")


@dataclass(frozen=True)
class AnomalyPaths:
    """Files of one anomaly report."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    def table(self, name: str) -> Path:
        return self.root / f"{name}.parquet"


@dataclass(frozen=True)
class StorePaths:
    """Files of a whole store. `StoreError` for a path that is not valid UTF-8: DuckDB cannot open its files."""

    root: Path

    def __post_init__(self) -> None:
        if any("\ud800" <= character <= "\udfff" for character in str(self.root)):
            raise StoreError(f"{str(self.root)!a} is not valid UTF-8", "choose another name for the store")

    @property
    def marker(self) -> Path:
        return self.root / "store.json"

    @property
    def annotations(self) -> Path:
        return self.root / "annotations.sqlite"

    @property
    def entries(self) -> Path:
        return self.root / "saes"

    def entry(self, sae_id: str) -> EntryPaths:
        return EntryPaths(self.entries / validate_sae_id(sae_id))

    @property
    def anomalies(self) -> Path:
        """Folder of the anomaly reports."""
        return self.root / "anomalies"

    def anomaly(self, name: str) -> AnomalyPaths:
        """An anomaly report; names are like those of entries."""
        return AnomalyPaths(self.anomalies / validate_sae_id(name))

    def training(self, name: str) -> Path:
        """Folder in which a sweep trains the checkpoint of one entry, until that entry is published."""
        return self.root / ".training" / validate_sae_id(name)
