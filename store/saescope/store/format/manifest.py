"""The manifest of one version: provenance, summary metrics and the hash of every file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from saescope.store.errors import StoreError, StoreFaults
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
    d_in: int
    """Width of the input."""
    d_out: int
    """Width of the output."""
    n_features: int
    """Width of the code."""
    firing_threshold: float
    """A feature fires where |activation| exceeds this."""
    histogram_edges: list[float]
    """Edges of the activation histogram: bin i holds edges[i] <= |f| < edges[i + 1] among firings."""
    source: dict[str, Any]
    """Where the activations come from, as `format.source` describes it; `Entry.source` has the typed form."""
    n_positions: int
    """Evaluated positions N: statistics and examples come from all of them."""
    n_metric_positions: int
    """Positions that the metrics were computed over (fewer where the SAE was trained on the same data)."""
    metrics: dict[str, float | None]
    """Name -> value of every metric; null where undefined."""
    config: dict[str, Any] = field(default_factory=dict)
    """Every option used."""
    sweep: dict[str, Any] | None = None
    """{"name", "parameter", "value"} where the SAE is one of a sweep."""
    seed: int | None = None
    """Random seed of the training, where known."""
    version: str = ""
    """Name of this version's folder."""
    tables_version: int = 1
    """What the tables' columns mean: `schema.TABLES_VERSION` of the program that wrote them; 1 where it is not said."""
    weights_sha256: str = ""
    """sha256 of sae/sae.safetensors: what people add is kept by it."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File name -> {"sha256", "bytes"} of every Parquet file and of sae/."""
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
            content = json.loads(text)
        except ValueError as error:
            raise StoreError(f"{subject} is not JSON: {error}", "restore it or build the entry again") from error
        if not isinstance(content, dict):
            raise StoreError(f"{subject} is not a JSON object", "restore it or build the entry again")
        faults = []
        values: dict[str, Any] = {}
        for f in fields(Manifest):
            if f.name not in content:
                if f.default is MISSING and f.default_factory is MISSING:
                    faults.append(f"{f.name} is missing")
                continue
            problem = _type_problem(f.name, content[f.name])
            if problem:
                faults.append(problem)
            values[f.name] = content[f.name]
        if isinstance(content.get("source"), dict):
            faults += [f"source.{fault}" for fault in source_faults(content["source"])]
        if faults:
            raise StoreFaults(subject, faults, "restore it or build the entry again")
        return Manifest(**values)

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


_TEXT = ("sae_id", "created_at", "saescope_version", "architecture", "version", "weights_sha256", "build_key")
_COUNTS = ("d_in", "d_out", "n_features", "n_positions", "n_metric_positions", "tables_version")
_OBJECTS = ("source", "metrics", "config", "files")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _type_problem(name: str, value: Any) -> str | None:
    expected = None
    if name in _TEXT and not isinstance(value, str):
        expected = "text"
    elif name in _COUNTS and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        expected = "a whole number from 0"
    elif name == "firing_threshold" and not _is_number(value):
        expected = "a number"
    elif name in _OBJECTS and not isinstance(value, dict):
        expected = "an object"
    elif name == "sweep" and not (value is None or isinstance(value, dict)):
        expected = "an object or null"
    elif name == "seed" and not (value is None or isinstance(value, int)):
        expected = "a whole number or null"
    elif name == "histogram_edges" and not (isinstance(value, list) and all(_is_number(v) for v in value)):
        expected = "a list of numbers"
    elif name == "metrics" and not all(v is None or _is_number(v) for v in value.values()):
        expected = "numbers or null"
    elif name == "files" and not all(isinstance(v, dict) and {"sha256", "bytes"} <= v.keys() for v in value.values()):
        expected = "an object of {sha256, bytes} by file name"
    if expected is None:
        return None
    shown = repr(value)
    return f"{name} is {shown if len(shown) <= 60 else shown[:57] + '...'}, expected {expected}"
