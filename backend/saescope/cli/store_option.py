"""The `--store` option, and opening the store that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from saescope.store import FeatureStore

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
