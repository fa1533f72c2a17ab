"""What a folder of results holds, as comparable text: hashes of columns and tensors, and short values as they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open

Values = dict[str, str]
"""Name -> value, or a hash of it."""

_SENTENCE = re.compile(r"(.*): (?:[<>] ?)?[\d.]+ % of firings.*", re.DOTALL)
"""A label as versions before its figures had columns of their own."""
_VERSION = re.compile(r"\d{8}t\d{12}z-[0-9a-f]{8}/?")
_UNSTABLE = {"version", "created_at", "files", "build_key", "saescope_version", "tables_version", "config", "training"}
_UNSTABLE |= {"weights_sha256"}
"""Of manifests and configurations: what differs between two runs, or tells of the version or the options."""
_OF_TRAINING = ("steps", "n_rows", "n_examples", "transform", "data_sha256", "held_out", "seed")


def values_of_folder(folder: Path) -> Values:
    """Of all tables, tensors and configurations in it; `{}` for a folder that is not there."""
    values: Values = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or {"state", "cache"} & set(path.parts):
            continue
        name = _VERSION.sub("", path.relative_to(folder).as_posix())
        if path.suffix == ".parquet":
            values |= {f"{name} {column}": value for column, value in columns(pq.read_table(path)).items()}
        elif path.suffix == ".safetensors":
            values |= {f"{name} {tensor}": value for tensor, value in tensors(path).items()}
        elif path.name in ("cfg.json", "manifest.json"):
            values |= {f"{name} {key}": value for key, value in settings(json.loads(path.read_text("utf-8"))).items()}
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            values |= {f"{name} {key}": value for key, value in exported(rows).items()}
        elif path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            values |= {f"{name} {key}": value for key, value in exported(rows).items()}
        elif path.suffix in (".npy", ".gz", ".png", ".txt"):
            values[name] = hashed(path.read_bytes())
    return values


def hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def columns(table: pa.Table) -> Values:
    """Type and hash of each column's values. Pictures count by their pixels, labels by their names."""
    made = {}
    for name in table.column_names:
        content = table[name].to_pylist()
        if name == "auto_label":
            content = [label_name(label) for label in content]
        elif pa.types.is_binary(table[name].type):
            content = [_pixels(picture) for picture in content]
        made[name] = f"{table[name].type} {len(content)} {hashed(repr(content).encode())}"
    return made


def exported(rows: list[dict[str, Any]]) -> Values:
    """The same of rows of text or JSON; pictures, whose bytes may be written in another way, are left out."""
    made = {}
    for name in rows[0] if rows else ():
        if name == "image":
            continue
        content = [row[name] for row in rows]
        if name == "auto_label":
            content = [label_name(label) for label in content]
        made[name] = f"{len(content)} {hashed(repr(content).encode())}"
    return made


def label_name(label: str | None) -> str | None:
    match = _SENTENCE.fullmatch(label or "")
    return match[1] if match else label


def _pixels(picture: bytes | None) -> Any:
    if picture is None:
        return None
    with Image.open(io.BytesIO(picture)) as image:
        return image.mode, image.size, hashed(image.tobytes())


def tensors(path: Path) -> Values:
    """Type, shape and hash of each tensor."""
    made = {}
    with safe_open(path, framework="np") as opened:
        names = list(opened.keys())
        for name in names:
            tensor = opened.get_tensor(name)
            made[name] = f"{tensor.dtype} {list(tensor.shape)} {hashed(tensor.tobytes())}"
    return made


def settings(content: dict[str, Any]) -> Values:
    """What a configuration or a manifest says, key by key; metrics to the last digit."""
    training = content.get("training") or {}
    flat = {key: value for key, value in content.items() if key not in _UNSTABLE}
    flat |= {f"training {key}": training[key] for key in _OF_TRAINING if key in training}
    for section in ("metrics", "source"):
        flat |= {f"{section} {key}": value for key, value in (flat.pop(section, None) or {}).items()}
    return {
        key: text if len(text := json.dumps(value, sort_keys=True)) < 60 else hashed(text.encode())
        for key, value in flat.items()
    }
