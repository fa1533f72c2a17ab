"""One door to every source."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from saescope.progress import SILENT, Progress
from saescope.sources.kinds import KINDS
from saescope.sources.options import DataOptions, Purpose
from saescope.sources.protocol import Source


class Opener(Protocol):
    """What the module of a kind offers."""

    def open_data(self, options: Any, purpose: Purpose, progress: Progress = SILENT) -> Source:
        """The data that `options` name. `UserError` for all that can be wrong with it."""
        ...

    def has_splits(self, options: Any) -> bool:
        """Whether the data has a train and a test split of its own."""
        ...


def open_source(options: DataOptions, purpose: Purpose = "evaluate", progress: Progress = SILENT) -> Source:
    """The data that `options` name, seen as activations.

    Data with a train and a test split yields the train split for `purpose` 'train' and the test split for 'evaluate',
    unless `options.split` says otherwise. Everything that can be wrong with the data is told here as a `UserError`.
    """
    return _opener(options).open_data(options, purpose, progress)


def has_splits(options: DataOptions) -> bool:
    """Whether the data has a train and a test split of its own."""
    return _opener(options).has_splits(options)


def _opener(options: DataOptions) -> Opener:
    """Imported when asked for: transformers takes seconds."""
    return cast("Opener", importlib.import_module(KINDS[type(options)]))
