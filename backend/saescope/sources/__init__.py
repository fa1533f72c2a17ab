"""Where activations come from: pixels, patches of pixels, and files of cached activations."""

from saescope.sources.opening import has_splits, open_source
from saescope.sources.options import SourceOptions
from saescope.sources.protocol import ActivationBatch, ActivationTable, Source, flat_positions
from saescope.sources.split import held_out

__all__ = [
    "ActivationBatch",
    "ActivationTable",
    "Source",
    "SourceOptions",
    "flat_positions",
    "has_splits",
    "held_out",
    "open_source",
]
