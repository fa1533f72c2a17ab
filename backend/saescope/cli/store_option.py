"""The `--store` option, and opening the store that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saescope.cli.checkpoint_options import say_notes

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

F = TypeVar("F", bound=Callable[..., Any])


def store_option(command: F) -> F:
    """Adds `--store DIR`, passed as `store: Path`."""
    return click.option(
        "--store", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the feature store."
    )(command)


def open_store(path: Path) -> FeatureStore:
    """The store at `path`; `UserError` where there is none."""
    from saescope.store import FeatureStore

    return FeatureStore(path)


def readable_entries(store: FeatureStore) -> list[Entry]:
    """The entries that can be read; of the others a line each on stderr. Raises `UserError` where none can be."""
    entries, faults = store.readable()
    if faults and not entries:
        raise faults[0]
    say_notes(*(f"left out, as {fault.message}" for fault in faults))
    return entries
