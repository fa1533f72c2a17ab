"""Reading commands run where only their own extras are installed: no torch, and mostly no Streamlit either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BACKEND = ("torch", "numba", "jaxtyping", "safetensors", "sklearn", "skimage", "transformers", "gguf")
DASHBOARD = ("streamlit", "plotly", "PIL", "pandas")

PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

forbidden = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Missing())
from saescope.cli import main
main()
"""


def saescope_without(modules: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process where importing any of `modules` fails as if it were not installed."""
    path = os.pathsep.join(str(ROOT / root) for root in ("backend", "store", "dashboard"))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(modules), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("show", "digits-topk-k4"),
        ("show", "digits-topk-k4", "1"),
        ("search", "density > 0"),
        ("verify",),
        ("export", "digits-topk-k4", "--format", "jsonl", "--out", "OUT"),
    ],
    ids=lambda a: " ".join(a[:1]) + (" feature" if len(a) == 3 else ""),
)
def test_commands_that_read_a_store_need_no_extra(
    digits_store: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    given = [str(tmp_path / "out") if a == "OUT" else a for a in arguments]
    done = saescope_without(BACKEND + DASHBOARD, *given, "--store", digits_store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_serve_gets_as_far_as_its_store_without_the_backend(tmp_path: Path) -> None:
    """A path that holds no store is what it complains about, not a missing module."""
    done = saescope_without(BACKEND, "serve", "--store", tmp_path / "nothing")
    assert done.returncode == 2
    assert "no store" in done.stderr


def test_pages_are_rendered_without_the_backend(digits_store: Path) -> None:
    """Every view's module imports; what is forbidden here would be needed by none."""
    program = PROGRAM.replace("from saescope.cli import main\nmain()", "") + (
        "import pkgutil, importlib, saescope.dashboard as d\n"
        "names = [m.name for m in pkgutil.walk_packages(d.__path__, 'saescope.dashboard.')]\n"
        "[importlib.import_module(n) for n in names if not n.endswith(('.app', '.__main__'))]\n"
        "print(len(names))\n"
    )
    path = os.pathsep.join(str(ROOT / root) for root in ("backend", "store", "dashboard"))
    done = subprocess.run(
        [sys.executable, "-c", program, ",".join(BACKEND)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [
        (BACKEND, "backend", ("evaluate", "x", "--images", "embedded:digits")),
        (BACKEND, "backend", ("anomaly", "score", "x", "--images", "embedded:digits", "--out", "y.csv")),
        (BACKEND, "backend", ("demo", "--no-serve", "--store", "y")),
        (DASHBOARD, "dashboard", ("serve", "--store", "x")),
    ],
)
def test_a_missing_extra_is_named_with_its_install_line(
    tmp_path: Path, missing: tuple[str, ...], extra: str, arguments: tuple[str, ...]
) -> None:
    """Also shows that the harness above can fail: what it hides is missed by the commands that need it."""
    done = saescope_without(missing, *arguments)
    assert done.returncode == 2
    assert f"pip install 'saescope[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr
