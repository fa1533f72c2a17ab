"""A source in words: what an SAE was evaluated on, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from saescope.store.numbers import count

if TYPE_CHECKING:
    from saescope.store import Entry


def name(source: Mapping[str, Any]) -> str:
    """The data's short name: the last part of its path, or the embedded set's name."""
    path = str(source.get("path") or source.get("kind") or "unknown source")
    if path.startswith("embedded:"):
        return path.removeprefix("embedded:")
    return PurePath(path).name or path


def model(name: str) -> str:
    """A model's name on the hub as it is, a file's or folder's without the way to it."""
    on_disk = name.startswith(("/", "~", ".")) or name.endswith(".gguf") or "\\" in name
    return PurePath(name.replace("\\", "/")).name if on_disk else name


def _shape(source: Mapping[str, Any]) -> str | None:
    patch, shape = source.get("patch"), source.get("input_shape")
    mode = {"colour": " colour", "grey": " grey"}.get(str(source.get("image_mode")), "")
    if patch:
        stride = source.get("stride")
        step = f" every {stride} px" if stride and stride != patch else ""
        return f"{patch} × {patch}{mode} patches{step}"
    if isinstance(shape, (list, tuple)) and len(shape) == 3:
        return f"{shape[0]} × {shape[1]}{mode} images"
    return None


def line(source: Mapping[str, Any]) -> str:
    """'digits · 8 × 8 grey images · test split · 360 items · 360 positions' (parts that are unknown are left out)."""
    parts = [name(source), _shape(source)]
    if source.get("model"):
        parts.append(model(str(source["model"])))
    if source.get("hook"):
        parts.append(str(source["hook"]))
    if source.get("split"):
        parts.append(f"{source['split']} split" if source["split"] != "all" else "all of the data")
    n_items, n_positions = source.get("n_items"), source.get("n_positions")
    if n_items is not None:
        parts.append(f"{count(n_items)} items")
    if n_positions is not None and n_positions != n_items:
        parts.append(f"{count(n_positions)} positions")
    return " · ".join(part for part in parts if part)


def entry_line(entry: Entry) -> str:
    """'digits-topk-k8 · topk · 256 features · digits · 8 × 8 grey images · ...': what a page about one SAE is about."""
    return f"{entry.sae_id} · {entry.manifest.architecture} · {count(entry.n_features)} features · " + line(
        entry.manifest.source
    )
