"""The errors that people see.

Everything a user can get wrong raises a `UserError`: what was given, what was expected, and what to try next, in one
or two lines. The command line prints it and exits with 2; a page shows it in a panel with a way back. Anything else
that escapes is our own failure (exit 1). The classes below `UserError` are causes, for callers that act on them.
"""

from __future__ import annotations

from collections.abc import Sequence


class SaescopeError(Exception):
    """Base of every error that saescope raises on purpose."""


class UserError(SaescopeError):
    """A user's mistake, told so that the next attempt works.

    `message` says what was given and what was expected; `hint`, if any, what to try.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class DataError(UserError):
    """Data that cannot be read as what it was given for: missing, damaged, of another kind, or nothing to use in it."""


class CheckpointError(UserError):
    """A checkpoint of an autoencoder or of a model that is missing, damaged, foreign, unsafe, or does not fit."""


class OptionError(UserError):
    """A given value that is unknown, outside its range, or does not go with the others."""


class DeviceError(UserError):
    """A device that is unknown, not there, or too small for the work."""


class StorageError(UserError):
    """The disk or the file system refuses: full, read-only, no permission, or a file where a folder should be."""


class StoreError(UserError):
    """A store, an entry, a version or its annotations: missing, foreign, newer than this program, or unreadable."""


class UnknownEntry(StoreError):
    """An `sae_id` that the store does not hold."""


class UnknownReport(StoreError):
    """The name of an anomaly report that the store does not hold."""


class UnknownFeature(StoreError):
    """A `feature_id` outside 0 ... n_features - 1."""


class UnknownItem(StoreError):
    """An `item_id` that the entry does not keep."""


class QueryError(UserError):
    """A search expression that does not parse, or names a column that does not exist."""


class FaultsError(UserError):
    """Several faults of one thing, told together and kept in `faults`."""

    def __init__(self, subject: str, faults: Sequence[str], hint: str | None = None) -> None:
        self.faults = tuple(faults)
        listed = "; ".join(self.faults)
        super().__init__(f"{subject}: {listed}", hint)


class StoreFaults(FaultsError, StoreError):
    """Several faults of one file of a store."""


class CheckpointFaults(FaultsError, CheckpointError):
    """Several faults of one checkpoint."""
