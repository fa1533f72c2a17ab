"""The manifest of one version: provenance, summary metrics and the hash of every file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from saescope.store.errors import StoreError, StoreFaults
from saescope.store.format.expectation import MOST
from saescope.store.format.fields import Count, field_faults, nested_faults, parse_object
from saescope.store.format.source import source_faults


def json_ready(value: Any) -> Any:
    """Plain JSON values: NumPy scalars and arrays unpacked, paths as text, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    if isinstance(value, np.generic):
        return json_ready(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


Values = Annotated[dict[str, float | None], msgspec.Meta(description="finite numbers or null by name")]


@dataclass(frozen=True)
class SweepPlace:
    """Where an SAE stands in a sweep: what `sweep` holds at least."""

    name: str
    parameter: str
    """k, l1, rho, ..."""
    value: float


@dataclass(frozen=True)
class FileRecord:
    """What a file held when it was published: the values of `files`."""

    sha256: str
    bytes: Count


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds. `EntryWriter.publish` fills in `version`, `tables_version`, `weights_sha256`, `files`
    and `build_key`."""

    sae_id: str
    """Name of the entry."""
    created_at: str
    """When the build was made: ISO 8601, UTC."""
    saescope_version: str
    """Version of the program that made it."""
    architecture: str
    """Name of the architecture, e.g. topk."""
    d_in: Count
    """Width of the input."""
    d_out: Count
    """Width of the output."""
    n_features: Count
    """Width of the code."""
    firing_threshold: float
    """A feature fires where |activation| exceeds this."""
    histogram_edges: Annotated[list[float], msgspec.Meta(description="a list of numbers")]
    """Edges of the activation histogram: bin i holds edges[i] <= |f| < edges[i + 1] among firings."""
    source: dict[str, Any]
    """Where the activations come from, as `format.source` describes it; `Entry.source` has the typed form."""
    n_positions: Count
    """Evaluated positions N: statistics and examples come from all of them."""
    n_metric_positions: Count
    """Positions that the metrics were computed over (fewer where the SAE was trained on the same data)."""
    metrics: Values
    """Name -> value of every metric; null where undefined."""
    config: dict[str, Any] = field(default_factory=dict)
    """Every option used."""
    constraint: str = ""
    """What the architecture forbids its code, in one line with its formula; empty where it is not said."""
    sweep: dict[str, Any] | None = None
    """`SweepPlace` and more where the SAE is one of a sweep."""
    seed: int | None = None
    """Random seed of the training, where known."""
    version: str = ""
    """Name of this version's folder."""
    tables_version: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 1
    """What the tables' columns mean: `schema.TABLES_VERSION` of the program that wrote them; 1 where it is not said."""
    weights_sha256: str = ""
    """sha256 of sae/sae.safetensors: what people add is kept by it."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File name -> `FileRecord` of every Parquet file and of sae/."""
    build_key: str = ""
    """Hash of everything that decided the result: the same key need not be built again."""

    def to_json(self) -> str:
        """The text of manifest.json: UTF-8, two spaces, keys in the order above, no NaN."""
        content = {f.name: json_ready(getattr(self, f.name)) for f in fields(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, subject: str = "manifest.json") -> Manifest:
        """Parse and check. Keys that this program does not know are ignored.

        Raises `StoreFaults` with every missing or ill-typed field, `StoreError` if it is no JSON object.
        """
        try:
            content = parse_object(text)
        except ValueError as error:
            raise StoreError(f"{subject} {error}", "restore it or build the entry again") from None
        faults = field_faults(Manifest, content) + nested_faults("sweep", SweepPlace, content.get("sweep"))
        if isinstance(content.get("source"), dict):
            faults += [f"source.{fault}" for fault in source_faults(content["source"])]
        for name, record in content["files"].items() if isinstance(content.get("files"), dict) else ():
            faults += nested_faults(f"files.{name}", FileRecord, record)
        if faults:
            raise StoreFaults(subject, faults, "restore it or build the entry again")
        return Manifest(**{f.name: content[f.name] for f in fields(Manifest) if f.name in content})

    @staticmethod
    def read(path: Path) -> Manifest:
        """Read a manifest file. Raises `StoreError`, `StoreFaults` among them."""
        manifest = Manifest.find(path)
        if manifest is None:
            raise StoreError(f"cannot read {path}: there is no such file", "restore it or build the entry again")
        return manifest

    @staticmethod
    def find(path: Path) -> Manifest | None:
        """The same; None where there is no such file."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {path}: {error}", "restore it or build the entry again") from error
        return Manifest.from_json(text, str(path))
