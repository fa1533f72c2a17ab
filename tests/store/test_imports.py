"""The store runs without torch, and its errors without a database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

READ_ALL = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "jaxtyping", "numba", "streamlit", "sklearn", "PIL"):
            raise ImportError("forbidden: " + name)
sys.meta_path.insert(0, Forbidden())
{first}
import pkgutil, importlib
import saescope.store
for module in pkgutil.walk_packages(saescope.store.__path__, "saescope.store."):
    importlib.import_module(module.name)
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from saescope.store.read.export import export
with FeatureStore(sys.argv[1]) as store:
    for entry in store.entries():
        entry.feature(3), entry.examples(3), entry.search("digit 7"), entry.atoms([1]), entry.annotation(3)
    export(entry, "jsonl", sys.argv[2])
assert verify(sys.argv[1]) == []
assert "torch" not in sys.modules
print("read")
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_every_read_runs_without_torch(digits_store: Path, tmp_path: Path) -> None:
    done = run(READ_ALL.format(first=""), str(digits_store), str(tmp_path / "out"))
    assert done.stdout == "read\n", done.stderr


def test_the_test_above_can_fail(digits_store: Path, tmp_path: Path) -> None:
    done = run(READ_ALL.format(first="import torch"), str(digits_store), str(tmp_path / "out"))
    assert done.returncode != 0
    assert "forbidden: torch" in done.stderr


def test_errors_cost_no_database() -> None:
    code = (
        "import sys; from saescope.store.errors import UserError; import saescope.store; print('duckdb' in sys.modules)"
    )
    assert run(code).stdout == "False\n"
    assert run(code.replace("import saescope.store;", "from saescope.store import FeatureStore;")).stdout == "True\n"
