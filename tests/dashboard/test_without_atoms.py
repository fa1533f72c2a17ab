"""Every page of an SAE whose decoder is not linear: it has no atoms, and the pages say so or do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.precompute import BuildOptions, build_entry
from saescope.store import FeatureStore
from tests.dashboard.pages import run_page, tables, texts
from tests.precompute.small_builds import digits, make_sae, save_sae


@pytest.fixture(scope="module")
def deep_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("deep"), digits()
    checkpoint = save_sae(make_sae("deep", source), folder / "sae")
    build_entry(checkpoint, source, folder / "store", sae_id="digits-deep", options=BuildOptions(n_sample_items=9))
    return folder / "store"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("library", "digits-deep"),
        ("sparsity", "features have no atoms"),
        ("features", "48 of 48 features"),
        ("feature", "features have no atoms"),
        ("atoms", "features have no atoms"),
        ("probe", ""),
        ("health", "no neighbours"),
        ("reconstructions", ""),
    ],
)
def test_pages_do_without_atoms(deep_store: Path, page: str, said: str) -> None:
    alive = next(f for f in range(48) if not FeatureStore(deep_store)["digits-deep"].feature(f).is_dead)
    parameters = {} if page in ("library", "sparsity") else {"sae": "digits-deep"}
    if page == "feature":
        parameters["feature"] = str(alive)
    at = run_page(page, deep_store, **parameters)
    shown = texts(at) + str(tables(at))
    assert said in shown, shown[:2000]


def test_the_table_of_features_has_no_column_of_atoms(deep_store: Path, digits_store: Path) -> None:
    assert "atom" not in tables(run_page("features", deep_store, sae="digits-deep"))[0]
    assert "atom" in tables(run_page("features", digits_store, sae="digits-relu"))[0]
