"""The comparison of detectors, small: every method is judged on every table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "anomalies.py"


@pytest.mark.slow
def test_every_method_is_judged(tmp_path: Path) -> None:
    out = tmp_path / "aucs.json"
    arguments = [sys.executable, str(SCRIPT), "--small", "--threads", "1", "--json", str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    aucs = json.loads(out.read_text())["aucs"]["tables"]
    assert len(aucs) == 4
    for found in aucs.values():
        assert {"undercomplete mse", "topk whitened", "undercomplete joint", "PCA 8", "isolation forest"} <= set(found)
        assert all(0 <= value <= 1 for name, value in found.items() if not name.endswith("seconds"))
    assert "best member" in done.stdout
