"""A place in a model, in words."""

from __future__ import annotations

from pathlib import PurePath

from saescope.store.format.source import HookedDescription


def place_words(source: HookedDescription) -> list[str]:
    """The model and the hook."""
    return [words for words in (model_name(source.model), source.hook) if words]


def model_name(name: str) -> str:
    """A model's name on the hub as it is, a file's or folder's without the way to it."""
    on_disk = name.startswith(("/", "~", ".")) or name.endswith(".gguf") or "\\" in name
    return PurePath(name.replace("\\", "/")).name if on_disk else name
