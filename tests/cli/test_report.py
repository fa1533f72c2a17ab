"""What commands print."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from saescope.cli import report
from saescope.store.records import ItemCode


def test_json_is_one_object_with_null_for_what_json_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    report.json_object(
        {
            "nan": math.nan,
            "infinities": [math.inf, -math.inf, np.float32("nan")],
            "array": np.arange(3),
            "record": ItemCode(1, 0, [5], [math.nan]),
            "picture": b"123",
            "words": '\N{GREEK SMALL LETTER LAMDA} "quoted"',
        }
    )
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "nan": None,
        "infinities": [None, None, None],
        "array": [0, 1, 2],
        "record": {"item_id": 1, "position": 0, "feature_ids": [5], "activations": [None]},
        "picture": "3 bytes",
        "words": '\N{GREEK SMALL LETTER LAMDA} "quoted"',
    }


def test_numbers_have_three_digits_and_counts_separators() -> None:
    values = [None, math.nan, 0.0, 0.148249, 15.96, 1234.5, 0.00001234, 12345678.0]
    assert [report.number(v) for v in values] == ["-", "-", "0", "0.148", "16.0", "1,230", "1.23e-5", "12,300,000"]
    assert [report.count(v) for v in (None, 0, 1234567)] == ["-", "0", "1,234,567"]
    assert [report.metric(n, 1024.0) for n in ("n_dead", "l0")] == ["1,024", "1,024"]
    assert [report.percent(v) for v in (None, 0.0, 0.0128, 1.0, 3e-7)] == ["-", "0 %", "1.3 %", "100 %", "3.0e-5 %"]


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    report.table(("name", "n"), [("a", "1"), ("longer", "1,000")], right=(1,))
    assert capsys.readouterr().out == "name        n\na           1\nlonger  1,000\n"


@pytest.mark.parametrize(
    "arguments", [("--help",), ("ls", "--store", "STORE"), ("show", "digits-relu", "--store", "STORE")]
)
def test_a_reader_that_has_gone_is_no_trouble(store: Path, arguments: tuple[str, ...]) -> None:
    """As in `saescope ls | head -0`."""
    root = Path(__file__).parents[2]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "saescope.cli", *(str(store) if a == "STORE" else a for a in arguments)],
        stdout=write_end,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(root / r) for r in ("backend", "store", "dashboard"))},
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")
