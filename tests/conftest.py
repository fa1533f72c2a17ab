"""The small real store, made once per session for all tests that read one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saescope.store import FeatureStore
from tests.store import text_store
from tests.store.fixture_store import write_store
from tests.store.tiny import make_parts

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test asks the hub for anything


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that runs in this process puts itself in `__main__`'s place, which processes started later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of six entries on scikit-learn's digits. Shared: tests must not change it."""
    root = tmp_path_factory.mktemp("digits") / "store"
    write_store(root, n_features=64)
    return root


@pytest.fixture(scope="session")
def texts_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two entries on texts. Shared: tests must not change it."""
    root = tmp_path_factory.mktemp("texts") / "store"
    text_store.write_store(root)
    return root


@pytest.fixture(scope="session")
def older_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store that version 0.1.0 made, without the index. Shared: tests must not change it."""
    source = Path(__file__).parent / "store" / "before" / "store"
    return shutil.copytree(source, tmp_path_factory.mktemp("older") / "store")


@pytest.fixture
def store(digits_store: Path) -> Iterator[FeatureStore]:
    with FeatureStore(digits_store) as opened:
        yield opened


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of a tiny entry, as folders (see `tiny`)."""
    return make_parts(tmp_path_factory.mktemp("parts"))
