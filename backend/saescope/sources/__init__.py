"""Where activations come from: pixels, patches of pixels, models that read texts or images, and cached activations.

The names below are imported when they are first used, so that options alone cost no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saescope.store.lazy_names import lazy

if TYPE_CHECKING:
    from saescope.sources.kinds import SourceOptions
    from saescope.sources.opening import has_splits, open_source
    from saescope.sources.options import DataOptions
    from saescope.sources.protocol import ActivationBatch, ActivationTable, Source, TokenSource, flat_positions
    from saescope.sources.split import held_out, held_out_items

__all__ = [
    "ActivationBatch",
    "ActivationTable",
    "DataOptions",
    "Source",
    "SourceOptions",
    "TokenSource",
    "flat_positions",
    "has_splits",
    "held_out",
    "held_out_items",
    "open_source",
]

__getattr__ = lazy(
    __name__,
    {
        "ActivationBatch": "protocol",
        "ActivationTable": "protocol",
        "DataOptions": "options",
        "Source": "protocol",
        "SourceOptions": "kinds",
        "TokenSource": "protocol",
        "flat_positions": "protocol",
        "has_splits": "opening",
        "held_out": "split",
        "held_out_items": "split",
        "open_source": "opening",
    },
)
