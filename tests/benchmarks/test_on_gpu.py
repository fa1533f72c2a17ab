"""The script that checks a GPU, run on the CPU: every check passes, without Streamlit or a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.py"
PROGRAM = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    foreign = {"streamlit", "plotly", "playwright", "pytest", "skimage"} & set(sys.modules)
    assert not foreign, foreign
"""


@pytest.mark.slow
def test_all_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "outcomes.json"
    arguments = [str(SCRIPT), "--device", "cpu", "--small", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    checks = json.loads(out.read_text())["checks"]
    assert len(checks) > 30
    assert [each["name"] for each in checks if not each["passed"]] == []
    assert "| check |" in done.stdout


def test_it_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--needs"], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "numba", "safetensors", "scikit-learn"} <= set(done.stdout.split())
    assert "streamlit" not in done.stdout
