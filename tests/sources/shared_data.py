"""Finds data sets that are too large for the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder of data set `name` under SAESCOPE_SHARED_DATA or ../shared/data; skips where missing."""
    root = Path(__file__).resolve().parents[2]
    named = os.environ.get("SAESCOPE_SHARED_DATA")
    for candidate in [Path(named)] if named else [root.parent / "shared" / "data", root.parents[1] / "shared" / "data"]:
        if (candidate / name).is_dir():
            return candidate / name
    pytest.skip(f"{name} not found: set SAESCOPE_SHARED_DATA to a folder that holds {name}/")
