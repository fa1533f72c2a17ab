"""The small stores, made once per session for all tests that read one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saescope.store import FeatureStore
from tests.quick import DOCUMENTS, QUICK
from tests.small_stores.sharing import shared

TESTS = Path(__file__).parent
os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test asks the hub for anything
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before torch is imported: processes side by side share the cores
    cores = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `make quick` and `make docs` run; browser tests follow each other on one process of several."""
    for item in items:
        if item.path.relative_to(TESTS).as_posix() in QUICK:
            item.add_marker("quick")
        if item.path.stem in DOCUMENTS:
            item.add_marker("docs")
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that runs in this process puts itself in `__main__`'s place, which processes started later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six entries on scikit-learn's digits. Shared: tests must not change it."""
    return shared(tmp_path_factory, "digits") / "store"


@pytest.fixture(scope="session")
def texts_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two entries on texts through a small model. Shared: tests must not change it."""
    return shared(tmp_path_factory, "texts") / "store"


@pytest.fixture(scope="session")
def other_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, cached activations, an SAE without atoms, one with dead and dense features. Shared likewise."""
    return shared(tmp_path_factory, "others") / "store"


@pytest.fixture(scope="session")
def older_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store that version 0.1.0 made, without the index. Shared: tests must not change it."""
    source = TESTS / "store" / "before" / "store"
    return shutil.copytree(source, tmp_path_factory.mktemp("older") / "store")


@pytest.fixture
def store(digits_store: Path) -> Iterator[FeatureStore]:
    with FeatureStore(digits_store) as opened:
        yield opened


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of the smallest entry, as folders (see `tests.store.tiny`)."""
    folder = shared(tmp_path_factory, "parts")
    return [FeatureStore(folder / name / "store")["tiny"].paths.root for name in ("part-8", "part-12")]
