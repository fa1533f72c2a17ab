"""Verification: every fault of a store at once, from the marker down to single numbers.

Files first (CURRENT, manifest, hashes, nothing missing and nothing extra), then every table's schema and order, then
what the tables say about each other (see `consistency`). The index is a cache and not verified beyond its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from saescope.store.atomic import is_temporary
from saescope.store.check.anomaly_consistency import report_faults
from saescope.store.check.consistency import table_faults
from saescope.store.check.fault import Fault
from saescope.store.errors import StoreError, StoreFaults, UnknownEntry
from saescope.store.format.current import read_current
from saescope.store.format.fields import parse_object, shown
from saescope.store.format.hashing import file_sha256
from saescope.store.format.manifest import Manifest
from saescope.store.format.marker import read_marker
from saescope.store.format.paths import SAE_ID_PATTERN, EntryPaths, StorePaths, VersionPaths
from saescope.store.format.schema import TABLES
from saescope.store.format.tables import read_parquet
from saescope.store.read.weights import read_weights_header

__all__ = ["Fault", "verify"]


def verify(root: Path | str, sae_id: str | None = None) -> list[Fault]:
    """Every fault of the store at `root`, or of one entry; an empty list means that all is well.

    Raises `StoreError` where there is no store of a known format, `UnknownEntry` for an entry that is not there.
    """
    store = StorePaths(Path(root))
    read_marker(store)
    if sae_id is not None:
        entry = store.entry(sae_id)
        if not entry.root.is_dir():
            raise UnknownEntry(f"the store has no entry {sae_id!r}")
        return list(_entry_faults(sae_id, entry))
    faults = []
    for folder in sorted(store.entries.iterdir()) if store.entries.is_dir() else []:
        if not SAE_ID_PATTERN.fullmatch(folder.name) or not folder.is_dir():
            faults.append(Fault(folder.name, "saes/", "not the folder of an entry"))
            continue
        faults += _entry_faults(folder.name, store.entry(folder.name))
    return faults + list(report_faults(store))


def _entry_faults(sae_id: str, entry: EntryPaths) -> Iterator[Fault]:
    try:
        current = read_current(entry)
    except StoreError as error:
        yield Fault(sae_id, "CURRENT", error.message)
        current = None
    known = {"CURRENT", ".lock", *entry.versions(), *(p.name for p in entry.leftovers())}
    for path in sorted(entry.root.iterdir()):
        if path.name not in known and not is_temporary(path):
            yield Fault(sae_id, path.name, "extra file")
    for name in entry.versions():
        yield from _version_faults(sae_id, name, entry.version(name), live=name == current)


def _version_faults(sae_id: str, name: str, version: VersionPaths, live: bool) -> Iterator[Fault]:
    def fault(file: str, problem: str) -> Fault:
        return Fault(sae_id, file if live else f"{name}/{file}", problem)

    try:
        manifest = Manifest.read(version.manifest)
    except StoreFaults as error:
        yield from (fault("manifest.json", f) for f in error.faults)
        return
    except StoreError as error:
        yield fault("manifest.json", error.message)
        return
    for field, expected, found in (("sae_id", sae_id, manifest.sae_id), ("version", name, manifest.version)):
        if expected != found:
            yield fault("manifest.json", f"{field} is {found!r}, expected {expected!r}")
    sound = []
    for file, entry in sorted(manifest.files.items()):
        problem = _file_problem(version, file, entry["sha256"], entry["bytes"])
        if problem:
            yield fault(file, problem)
        else:
            sound.append(file)
    for file in _extra_files(version, manifest):
        yield fault(file, "extra file, not in the manifest")
    for table in TABLES.values():
        if table.required and f"{table.name}.parquet" not in manifest.files:
            yield fault(f"{table.name}.parquet", "required, but not in the manifest")
    tables: dict[str, pa.Table] = {}
    for table_name in TABLES:
        if f"{table_name}.parquet" in sound:
            try:
                tables[table_name] = read_parquet(version.table(table_name))
            except StoreError as error:
                yield fault(f"{table_name}.parquet", error.message)
    for file, problem in table_faults(tables, manifest):
        yield fault(file, problem)
    for file, problem in _checkpoint_faults(version, manifest, sound):
        yield fault(file, problem)


def _file_problem(version: VersionPaths, name: str, sha256: str, n_bytes: int) -> str | None:
    try:
        path = version.file(name)
        if path.is_symlink() or not path.is_file():
            return "missing"
        if path.stat().st_size != n_bytes:
            return f"has {path.stat().st_size:,} bytes, the manifest says {n_bytes:,}"
        if file_sha256(path) != sha256:
            return "its sha256 is not the manifest's: the content has changed"
    except (OSError, StoreError) as error:
        return f"cannot be read: {error}"
    return None


def _extra_files(version: VersionPaths, manifest: Manifest) -> Iterator[str]:
    for path in sorted(version.root.rglob("*")):
        name = path.relative_to(version.root).as_posix()
        cache = path.parent == version.root and path.name.lstrip(".").startswith("index-")
        if name in manifest.files or name in ("manifest.json", "sae") or cache:
            continue
        yield name


def _checkpoint_faults(version: VersionPaths, manifest: Manifest, sound: list[str]) -> Iterator[tuple[str, str]]:
    weights, config = "sae/sae.safetensors", "sae/cfg.json"
    for file in (weights, config):
        if file not in manifest.files:
            yield file, "required, but not in the manifest"
    if weights in manifest.files and manifest.files[weights]["sha256"] != manifest.weights_sha256:
        yield "manifest.json", "weights_sha256 is not the sha256 of sae/sae.safetensors"
    content: dict[str, Any] | None = None
    if config in sound:
        try:
            content = parse_object(version.config.read_bytes())
        except (OSError, ValueError) as error:
            yield config, str(error)
    if weights in sound:
        try:
            header = read_weights_header(version.weights).tensors
        except StoreError as error:
            yield weights, error.message
        else:
            told = content is not None and content.get("noise_input") is True  # the noise level is one more input
            shapes = {
                "W_enc": (manifest.d_in + told, manifest.n_features),
                "W_dec": (manifest.n_features, manifest.d_out),
                "b_enc": (manifest.n_features,),
                "b_dec": (manifest.d_out,),
            }
            for name, shape in shapes.items():
                if name in header and header[name].shape != shape:
                    yield weights, f"{name} has shape {list(header[name].shape)}, expected {list(shape)}"
    if content is not None:
        for name in ("architecture", "d_in", "n_features"):
            if content.get(name) != getattr(manifest, name):
                yield config, f"{name} is {shown(content.get(name))}, the manifest says {getattr(manifest, name)!r}"
        if content.get("weights_sha256", manifest.weights_sha256) != manifest.weights_sha256:
            yield config, "weights_sha256 is not the sha256 of sae/sae.safetensors"
