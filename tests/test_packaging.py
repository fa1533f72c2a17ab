"""One namespace from three source roots: what a wheel holds and how it imports in a new environment."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
SOURCE_ROOTS = ("backend", "store", "dashboard")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("saescope-*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(n) for n in archive.namelist()]


def python_in_new_environment(wheel: Path, folder: Path) -> Path:
    """The interpreter of a new environment that holds the wheel, and sees this one's third-party packages."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # A folder that a .pth file names is searched, but .pth files in it are not read: an editable saescope is not seen.
    (site / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_three_imports_from_a_built_wheel(wheel: Path, tmp_path: Path) -> None:
    python = python_in_new_environment(wheel, tmp_path / "env")
    program = """
import json, saescope
from saescope.store import FeatureStore
import saescope.autoencoders, saescope.dashboard, saescope.cli
modules = (saescope.store, saescope.autoencoders, saescope.dashboard, saescope.cli)
print(json.dumps({"file": saescope.__file__, "path": list(saescope.__path__), "files": [m.__file__ for m in modules]}))
"""
    done = subprocess.run([python, "-I", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    seen = json.loads(done.stdout)
    assert seen["file"] is None
    assert len(seen["path"]) == 1
    assert all(Path(f).is_relative_to(tmp_path / "env") for f in seen["files"])


def test_the_installed_command_runs(wheel: Path, tmp_path: Path) -> None:
    python = python_in_new_environment(wheel, tmp_path / "env")
    done = subprocess.run(
        [python, "-I", "-m", "saescope.cli", "--version"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    version = wheel.name.split("-")[1]
    assert done.stdout.strip() == f"saescope {version}"


def test_nothing_lies_directly_under_the_namespace(names: list[PurePosixPath]) -> None:
    assert [n for n in names if n.parent == PurePosixPath("saescope")] == []
    for root in SOURCE_ROOTS:
        here = [p.name for p in (ROOT / root / "saescope").iterdir() if p.is_file()]
        assert here == []


def test_every_package_tells_type_checkers_that_it_is_typed(names: list[PurePosixPath]) -> None:
    packages = {n.parts[1] for n in names if n.parts[0] == "saescope"}
    typed = {n.parts[1] for n in names if n.parts[0] == "saescope" and n.parts[2:] == ("py.typed",)}
    assert {"store", "dashboard", "autoencoders", "cli"} <= packages
    assert packages == typed


def test_the_wheel_holds_every_tracked_file_of_the_source_roots(names: list[PurePosixPath]) -> None:
    """Scripts, styles, themes and whatever else lies beside the code are in the wheel too."""
    for root in SOURCE_ROOTS:
        for path in (ROOT / root).rglob("*"):
            inside = path.relative_to(ROOT / root)
            if path.is_file() and "__pycache__" not in inside.parts:
                assert PurePosixPath(inside.as_posix()) in names


def test_the_wheel_holds_nothing_else(names: list[PurePosixPath]) -> None:
    others = {n.parts[0] for n in names if n.parts[0] != "saescope"}
    assert all(top.endswith(".dist-info") for top in others)
