"""The one pass over a source, and what is made of it: a published entry of a feature store.

The names below are imported when they are first used, so that options alone cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saescope.store.lazy_names import lazy

if TYPE_CHECKING:
    from saescope.precompute.build import build_entry
    from saescope.precompute.options import BuildOptions

__all__ = ["BuildOptions", "build_entry"]

__getattr__ = lazy(__name__, {"BuildOptions": "options", "build_entry": "build"})
