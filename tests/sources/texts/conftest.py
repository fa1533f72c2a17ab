"""A small model and a folder of texts, and a cache of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saescope.sources import SourceOptions, open_source
from saescope.sources.texts.source import HookedTexts
from tests.sources.texts import small_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.save_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty topics of the language reference, a file each."""
    root = tmp_path_factory.mktemp("texts")
    for number, text in enumerate(small_model.texts()):
        (root / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


Open = Callable[..., HookedTexts]


@pytest.fixture
def opened(model: Path, folder: Path) -> Open:
    """`opened(context=16)` opens the folder's texts with options of one's own."""

    def call(**options: Any) -> HookedTexts:
        given = {"texts": str(folder), "model": str(model), "hook": "blocks.1.hook_resid_post", "context": 32}
        source = open_source(SourceOptions(**{**given, **options}))
        assert isinstance(source, HookedTexts)
        return source

    return call
