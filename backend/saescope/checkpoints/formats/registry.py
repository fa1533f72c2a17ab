"""Checkpoint formats by name. Every module of this package that offers a `FORMAT` is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from saescope.checkpoints.formats.protocol import CheckpointFormat


@cache
def known_formats() -> dict[str, CheckpointFormat]:
    """All formats, by name."""
    package = importlib.import_module("saescope.checkpoints.formats")
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    found = [module.FORMAT for module in modules if isinstance(getattr(module, "FORMAT", None), CheckpointFormat)]
    return {each.name: each for each in sorted(found, key=lambda f: f.name)}
