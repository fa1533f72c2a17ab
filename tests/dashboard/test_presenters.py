"""One presenter per entry, chosen by the description of its source; pages tell no kinds apart."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saescope.dashboard import presentation
from saescope.dashboard.presentation.choice import presenters
from saescope.store import FeatureStore
from saescope.store.format import source as descriptions
from tests.dashboard.conftest import OpenPage, texts
from tests.dashboard.pages import components

DASHBOARD = Path(presentation.__file__).parents[1]
SHOW = DASHBOARD.parents[2] / "backend" / "saescope" / "cli" / "show.py"

SOUNDS = """
from dataclasses import dataclass
from typing import ClassVar

import streamlit as st

from saescope.dashboard.presentation.presenter import Presenter
from saescope.store.format.source import SourceDescription


@dataclass(frozen=True, kw_only=True, eq=False)
class SoundDescription(SourceDescription):
    kind: str = "sounds"
    rate: int


class Sounds(Presenter):
    describes: ClassVar = (SoundDescription,)
    by_position: ClassVar = True
    has_lists: ClassVar = True
    has_contexts: ClassVar = True
    search_example: ClassVar = "loud:0.5"
    search_help: ClassVar = "`loud:0.5` finds features that fire on loud places."

    @property
    def about(self):
        return [f"{self.entry.source.rate} Hz"]

    def can_draw(self, item):
        return True

    def draw_examples(self, examples, items, *, key, strongest, whole):
        st.caption(f"sounds {', '.join(str(e.item_id) for e in examples)}, whole: {whole}")

    def show_lists(self, feature_id, n_firing, *, key):
        st.caption(f"heard {n_firing} times")
"""


@pytest.fixture
def sounds(tmp_path: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store with an entry of a kind that nothing but a new file knows."""
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "sounds.py").write_text(SOUNDS)
    monkeypatch.setattr(presentation, "__path__", [*presentation.__path__, str(tmp_path / "kinds")])
    monkeypatch.setattr(descriptions, "KINDS", dict(descriptions.KINDS))
    presenters.cache_clear()
    with FeatureStore(own_store) as store:
        path = store["digits-relu"].paths.manifest
    content = json.loads(path.read_text())
    content["source"] = {"kind": "sounds", "path": "birds", "n_items": 360, "rate": 44100}
    path.chmod(0o644)
    path.write_text(json.dumps(content))
    yield own_store
    sys.modules.pop("saescope.dashboard.presentation.sounds", None)
    monkeypatch.undo()
    presenters.cache_clear()


def test_a_new_kind_of_item_is_one_new_file(sounds: Path, open_page: OpenPage) -> None:
    page = texts(open_page(sounds, "features", sae="digits-relu"))  # the first: no presenter was asked for before
    assert "birds · 44100 Hz · 360 items" in page
    assert "loud:0.5" in page
    with FeatureStore(sounds) as store:
        entry = store["digits-relu"]
        feature = next(i for i in range(entry.n_features) if entry.examples(i))
        fired = entry.feature(feature).n_firing
        first = entry.examples(feature, "top")[0].item_id
    page = texts(open_page(sounds, "feature", sae="digits-relu", feature=feature))
    assert f"sounds {first}" in page
    assert f"heard {fired} times" in page
    assert "whole: True" in texts(open_page(sounds, "feature", sae="digits-relu", feature=feature, context="whole"))
    assert "no place that could be shown" in texts(open_page(sounds, "reconstructions", sae="digits-relu"))
    assert "no way to make" in texts(open_page(sounds, "probe", sae="digits-relu"))
    assert "drawn as a strip" in texts(open_page(sounds, "atoms", sae="digits-relu"))
    for name in ("library", "health", "sparsity"):
        assert texts(open_page(sounds, name, sae="digits-relu"))


def test_what_no_module_knows_is_shown_as_numbers(own_store: Path, open_page: OpenPage) -> None:
    with FeatureStore(own_store) as store:
        path = store["digits-relu"].paths.manifest
    content = json.loads(path.read_text())
    content["source"] = {"kind": "made later"}
    path.chmod(0o644)
    path.write_text(json.dumps(content))
    page = open_page(own_store, "feature", sae="digits-relu", feature=5)
    texts(page)
    assert components(page, "saescope_table")


def test_no_page_tells_kinds_apart() -> None:
    kinds = "|".join(descriptions.KINDS)
    asked = re.compile(rf"""["']({kinds}|image)["']\]?|manifest\.source(\.get|\[)|Description\b""")
    found = {
        f"{path.name}: {line.strip()}"
        for path in [*DASHBOARD.glob("views/*.py"), *DASHBOARD.glob("components/**/*.py"), SHOW]
        for line in path.read_text(encoding="utf-8").splitlines()
        if asked.search(line)
    }
    assert found == set()
