"""The door to a store: its entries, sweeps and annotations."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from saescope.store.annotations import Annotations
from saescope.store.atomic import storage_errors
from saescope.store.errors import StoreError, UnknownEntry, UserError
from saescope.store.format.current import read_current
from saescope.store.format.manifest import Manifest
from saescope.store.format.marker import open_store
from saescope.store.format.paths import SAE_ID_PATTERN, StorePaths
from saescope.store.format.source import SourceDescription
from saescope.store.read.anomalies import AnomalyReport, open_report, report_names
from saescope.store.read.entry import Entry
from saescope.store.read.index import IndexPool

_MOST_REPLACEMENTS = 4
"""A version may be replaced, and swept, between reading CURRENT and its manifest: so often is it looked for again."""


@dataclass(frozen=True)
class Sweep:
    """SAEs that are drawn as one curve: one name, one architecture, one source.

    An entry that is in no sweep is a sweep of its own, with its sae_id as name and no `parameter`.
    """

    name: str
    architecture: str
    parameter: str | None
    """What differs: k, l1, rho, ..."""
    source: SourceDescription
    """Where the activations of its entries come from."""
    entries: list[Entry]
    """From sparse to dense, by l0."""

    @property
    def source_key(self) -> tuple[Any, ...]:
        """Equal for sweeps over the same activations: they can share one chart and its baselines."""
        return source_key(self.source)

    def baselines(self) -> pa.Table | None:
        """Reference points on the same source: the rows of its entries' tables `baselines`, each once."""
        tables = [t for t in (entry.baselines() for entry in self.entries) if t is not None]
        if not tables:
            return None
        rows = {(row["name"], row["n_components"]): row for table in tables for row in table.to_pylist()}
        schema = pa.unify_schemas([table.schema for table in tables])
        return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=schema)


def source_key(source: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells sources apart: kind, data, split, and how the data is cut into positions."""
    names = ("kind", "data_sha256", "split", "patch", "stride", "image_mode", "model", "hook", "context")
    return tuple(str(source.get(name)) for name in names)


class FeatureStore:
    """A store of precomputed features: `FeatureStore("my-store")["mnist-topk-k16"].feature(12)`.

    Opening reads store.json only. New versions are picked up by the next `entries()` or `store[sae_id]`. Any number of
    threads may share a store. Raises `StoreError` for a path that is no store, or one of a newer format.
    """

    def __init__(self, path: Path | str) -> None:
        self.paths: StorePaths = open_store(path)
        self.indexes = IndexPool()
        self.annotations = Annotations(self.paths.annotations)
        """What people add: labels, stars, comments, lists."""
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<FeatureStore {str(self.paths.root)!r}: {len(self)} entries>"

    def close(self) -> None:
        """Close indexes and annotations. Reading again opens them again."""
        self.indexes.close()
        self.annotations.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ids(self) -> list[str]:
        """The sae_ids of the published entries, sorted."""
        with storage_errors(f"read the store {self.paths.root}"):
            if not self.paths.entries.is_dir():
                return []
            folders = [p.name for p in self.paths.entries.iterdir() if SAE_ID_PATTERN.fullmatch(p.name)]
            return sorted(name for name in folders if self.paths.entry(name).current.is_file())

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def __contains__(self, sae_id: object) -> bool:
        return isinstance(sae_id, str) and sae_id in self.ids()

    def __getitem__(self, sae_id: str) -> Entry:
        """The live version of an entry. Raises `UnknownEntry`, or `StoreError` where it cannot be read."""
        if not isinstance(sae_id, str) or not SAE_ID_PATTERN.fullmatch(sae_id):
            raise UnknownEntry(f"not a valid sae_id: {sae_id!r}", self._known())
        for _ in range(_MOST_REPLACEMENTS):
            entry = self._live(sae_id)
            if entry is not None:
                return entry
        raise StoreError(f"{sae_id} is replaced faster than it can be opened", "try again")

    def _live(self, sae_id: str) -> Entry | None:
        """The live version; None where it was swept between reading CURRENT and its manifest."""
        paths = self.paths.entry(sae_id)
        version = read_current(paths)
        if version is None:
            raise UnknownEntry(f"the store has no entry {sae_id!r}", self._known())
        with self._lock:
            entry = self._entries.get(sae_id)
        if entry is not None and entry.version == version:
            return entry
        files = paths.version(version)
        manifest = Manifest.find(files.manifest)
        if manifest is None:
            return None
        entry = Entry(files, manifest, self.indexes, self.annotations)
        if (entry.sae_id, entry.version) != (sae_id, version):
            raise StoreError(f"{files.manifest} is of {entry.sae_id}, version {entry.version}", "run saescope verify")
        with self._lock:
            self._entries[sae_id] = entry
        return entry

    def _known(self) -> str:
        ids = self.ids()
        shown = ", ".join(ids[:8]) + (f", ... ({len(ids)} in all)" if len(ids) > 8 else "")
        return f"it holds {shown}" if ids else "it is empty: fill it with saescope build or demo"

    def entries(self) -> list[Entry]:
        """The live version of every entry, sorted by sae_id. Raises `StoreError` where one cannot be read."""
        return [self[sae_id] for sae_id in self.ids()]

    def readable(self) -> tuple[list[Entry], list[UserError]]:
        """The live version of every entry that can be read, sorted by sae_id, and what is wrong with the others."""
        entries: list[Entry] = []
        faults: list[UserError] = []
        for sae_id in self.ids():
            try:
                entries.append(self[sae_id])
            except UserError as error:
                faults.append(error)
        return entries, faults

    def anomaly_names(self) -> list[str]:
        """Names of the anomaly reports, sorted."""
        with storage_errors(f"read the store {self.paths.root}"):
            return report_names(self.paths)

    def anomaly(self, name: str) -> AnomalyReport:
        """An anomaly report. `UnknownReport` where there is none of the name."""
        return open_report(self.paths, name)

    def sweeps(self) -> list[Sweep]:
        """Every entry exactly once, grouped into curves, sorted by name and architecture.

        An entry that cannot be read is left out, so that one damaged entry does not hide the others; `readable()` and
        `verify` tell what is wrong with it.
        """
        groups: dict[tuple[Any, ...], list[Entry]] = {}
        for entry in self.readable()[0]:
            m = entry.manifest
            name = m.sweep["name"] if m.sweep else entry.sae_id
            key = (str(name), m.architecture, m.sweep is None, source_key(entry.source))
            groups.setdefault(key, []).append(entry)
        return [_sweep(key[0], groups[key]) for key in sorted(groups)]


def _sweep(name: str, entries: list[Entry]) -> Sweep:
    def sparsity(entry: Entry) -> tuple[float, str]:
        l0 = entry.metrics.get("l0")
        return (float("inf") if l0 is None else l0, entry.sae_id)

    first = entries[0].manifest
    parameter = str(first.sweep["parameter"]) if first.sweep else None
    return Sweep(name, first.architecture, parameter, entries[0].source, sorted(entries, key=sparsity))
