"""Reading Parquet files that may be damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from saescope.store.errors import UserError


def guarded(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` returns; where it fails, a `UserError` that says so of the file at `path`."""
    try:
        return read()
    except Exception as error:  # damaged metadata leads Arrow to more than its own exceptions
        text = str(error).splitlines()[0] if str(error) else repr(error)
        raise UserError(
            f"{path}: not a whole Parquet file ({text})", "it may be half-written or damaged: write or copy it again"
        ) from error
