"""Folders that are there in full or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.store.atomic import new_folder
from saescope.store.errors import StorageError


def fill(path: Path, text: str, shared: bool = False) -> None:
    with new_folder(path, shared=shared) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text(text)


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with new_folder(tmp_path / "made") as folder:
        (folder / "file").write_text("whole")
        assert not (tmp_path / "made").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", "taken")
    assert (tmp_path / "empty" / "part" / "file").read_text() == "taken"


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        fill(tmp_path / "made", 3)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_those_that_make_the_same_stays(tmp_path: Path) -> None:
    fill(tmp_path / "made", "first", shared=True)
    fill(tmp_path / "made", "second", shared=True)
    with pytest.raises(StorageError, match="a folder with other files is there"):
        fill(tmp_path / "made", "third")
    assert (tmp_path / "made" / "part" / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
