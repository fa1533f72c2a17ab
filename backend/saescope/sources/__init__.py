"""Where activations come from: pixels, patches of pixels, models that read texts or images, and cached activations."""

from saescope.sources.opening import has_splits, open_source
from saescope.sources.options import SourceOptions
from saescope.sources.protocol import ActivationBatch, ActivationTable, Source, TokenSource, flat_positions
from saescope.sources.split import held_out, held_out_items

__all__ = [
    "ActivationBatch",
    "ActivationTable",
    "Source",
    "SourceOptions",
    "TokenSource",
    "flat_positions",
    "has_splits",
    "held_out",
    "held_out_items",
    "open_source",
]
