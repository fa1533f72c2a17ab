"""Which version of an entry is live."""

from __future__ import annotations

from saescope.store.errors import StoreError
from saescope.store.format.paths import EntryPaths


def read_current(entry: EntryPaths) -> str | None:
    """Name of the live version, or None where CURRENT is missing. Raises `StoreError` where it names none."""
    name = None
    for _ in range(3):  # between the two reads newer versions may come, and this one be swept
        before = name
        try:
            name = entry.current.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {entry.current}: {error}", "run saescope verify") from error
        if entry.version(name).manifest.is_file():
            return name
        if name == before:
            break
    raise StoreError(f"{entry.current} names the version {name!r}, which is not there", "build the entry again")
