"""The one pass over a source, and what is made of it: a published entry of a feature store.

The names below are imported when they are first used, so that options alone cost no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saescope.precompute.build import build_entry
    from saescope.precompute.options import BuildOptions

__all__ = ["BuildOptions", "build_entry"]

_LAZY = {"BuildOptions": "options", "build_entry": "build"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
