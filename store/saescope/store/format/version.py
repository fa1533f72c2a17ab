"""Which version of the program this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed version; '0+unknown' where the sources run without being installed."""
    try:
        return version("saescope")
    except PackageNotFoundError:
        return "0+unknown"
