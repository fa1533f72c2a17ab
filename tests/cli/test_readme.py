"""The README's notebook example runs as it is printed, and its commands and pictures exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from saescope.cli.app import COMMANDS
from saescope.store import FeatureStore

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    README,
    *((ROOT / "docs" / n).read_text(encoding="utf-8") for n in ("hosting.md", "training.md", "command-line.md")),
]


def test_the_notebook_example_runs(
    digits_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_store, tmp_path / "saescope-demo")
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert capsys.readouterr().out.count("\n") >= 2
    feature, entry = names["feature"], names["entry"]
    again = FeatureStore("saescope-demo")[entry.sae_id].feature(feature.feature_id)  # type: ignore[attr-defined]
    assert again.label == "what I think it is"


def test_every_command_that_the_pages_show_exists() -> None:
    shown = {name for page in PAGES for name in re.findall(r"^ +(?:[\w./]+/)?saescope ([a-z]+)", page, re.M)}
    assert {"serve", "sweep", "show"} <= shown
    assert shown <= set(COMMANDS)


def test_every_file_that_the_readme_names_is_there() -> None:
    targets = re.findall(r"\]\(((?!http)[^)#]+)", README)
    assert targets
    assert [t for t in targets if not (ROOT / t).is_file()] == []


def test_what_contributing_names_is_there() -> None:
    """Links, paths of files and folders, and the lines that stand for each task, which are those of the Makefile."""
    page, tasks = ((ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "Makefile"))
    named = re.findall(r"\]\(((?!http)[^)#]+)", page) + re.findall(r"`((?:[\w.]+/)+[\w.]*)`", page)
    roots = (ROOT, ROOT / "backend/saescope", ROOT / "store/saescope", ROOT / "dashboard/saescope/dashboard")
    roots = (*roots, ROOT / "backend/saescope/autoencoders")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []
    lines = {line.strip().replace("$(PYTHON)", ".venv/bin/python") for line in re.findall(r"^\t(.+)", tasks, re.M)}
    shown = {line for row in re.findall(r"^\| `make .*\| `([^`]+)` \|$", page, re.M) for line in row.split(" && ")}
    assert shown == lines
