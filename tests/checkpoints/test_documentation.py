"""docs/checkpoints.md tells of every format and of everything that can be assumed."""

from __future__ import annotations

import re
from pathlib import Path

from saescope.checkpoints import known_formats
from saescope.checkpoints.assumptions import MEANINGS

PAGE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
ROWS = set(re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE, re.M))


def test_every_format_and_assumption_has_its_row_and_nothing_else_has() -> None:
    assert set(known_formats()) | set(MEANINGS) == ROWS
