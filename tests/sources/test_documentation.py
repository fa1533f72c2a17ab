from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from saescope.store.format.source import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources.md"


def test_every_recorded_key_is_documented() -> None:
    recorded = {f.name for described in KINDS.values() for f in fields(described)} - {"further"}
    rows = PAGE.read_text(encoding="utf-8").split("## What is recorded")[1].splitlines()
    keys = [row.split("|")[1] for row in rows if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(keys))) == recorded
