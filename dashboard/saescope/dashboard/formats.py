"""Text and dates as pages show them."""

from __future__ import annotations

import re
from datetime import datetime

from saescope.store.numbers import NONE

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """`text` escaped so that Markdown (with Streamlit's colours, icons and formulas) shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", text.replace("\n", " "))


def day(iso: str | None) -> str:
    """2026-11-22 of an ISO 8601 time; as it is where it is none."""
    if not iso:
        return NONE
    try:
        return datetime.fromisoformat(iso).date().isoformat()
    except ValueError:
        return iso
