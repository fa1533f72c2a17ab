"""A source in words: what an SAE was evaluated on, in one line."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from saescope.dashboard.presentation.choice import presenter
from saescope.store.numbers import count

if TYPE_CHECKING:
    from saescope.store import Entry
    from saescope.store.format.source import SourceDescription


def name(source: SourceDescription) -> str:
    """The data's short name: the last part of its path, or the embedded set's name."""
    path = source.path or source.kind or "unknown source"
    if path.startswith("embedded:"):
        return path.removeprefix("embedded:")
    return PurePath(path).name or path


def line(entry: Entry) -> str:
    """'digits · 8 × 8 grey images · test split · 360 items · 360 positions' (parts that are unknown are left out)."""
    source = entry.source
    parts = [name(source), *presenter(entry).about]
    if source.split:
        parts.append(f"{source.split} split" if source.split != "all" else "all of the data")
    if source.n_items is not None:
        parts.append(f"{count(source.n_items)} items")
    if source.n_positions is not None and source.n_positions != source.n_items:
        parts.append(f"{count(source.n_positions)} positions")
    return " · ".join(parts)


def entry_line(entry: Entry) -> str:
    """'digits-topk-k8 · topk · 256 features · digits · 8 × 8 grey images · ...': what a page about one SAE is about."""
    return f"{entry.sae_id} · {entry.manifest.architecture} · {count(entry.n_features)} features · {line(entry)}"
