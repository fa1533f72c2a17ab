"""What the components send to the browser: data only ever as text, and assets that are in the package."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from saescope.dashboard.components import assets
from saescope.dashboard.components.picture_tiles import Tile, opened_value

ROOT = files("saescope.dashboard.components")
SCRIPTS = sorted(
    f"{folder.name}/{file.name}"
    for folder in ROOT.iterdir()
    if folder.is_dir()
    for file in folder.iterdir()
    if file.name.endswith(".js")
)


def test_there_are_scripts() -> None:
    assert "browser/sprites.js" in SCRIPTS
    assert "picture_tiles/picture_tiles.js" in SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_turn_data_into_markup(name: str) -> None:
    script = assets.text_of(name)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


def test_a_click_is_believed_only_if_it_names_something_on_the_page() -> None:
    assert opened_value({"open": 3}, [1, 3]) == 3
    for value in (4, None, "3", 3.0, True, [3], {"x": 1}):
        assert opened_value({"open": value}, [1, 3]) is None
    assert opened_value({}, [1]) is None
    assert opened_value(None, [1]) is None


def test_a_tile_sends_only_what_it_has() -> None:
    assert Tile(3).payload() == {"value": 3}
    assert Tile(None, tip="a", picture=0).payload() == {"value": None, "tip": "a", "picture": 0}
