"""docs/evaluation.md tells of every metric, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

from saescope.metrics import all_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_metric_is_documented_and_no_other() -> None:
    first_cells = " ".join(row.split(" | ")[0] for row in PAGE.splitlines() if row.startswith("| `"))
    documented = {name.partition(".")[0] for name in re.findall(r"`([a-z0-9_]+[A-Za-z.]*)`", first_cells)}
    assert documented == set(all_metrics())
