"""Every page of an SAE whose decoder is not linear: it has no atoms, and the pages say so or do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.store import FeatureStore
from tests.dashboard.pages import run_page, tables, texts


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("library", "deep"),
        ("sparsity", "features have no atoms"),
        ("features", "48 of 48 features"),
        ("feature", "features have no atoms"),
        ("atoms", "features have no atoms"),
        ("probe", ""),
        ("health", "no neighbours"),
        ("reconstructions", ""),
    ],
)
def test_pages_do_without_atoms(other_store: Path, page: str, said: str) -> None:
    alive = next(f for f in range(48) if not FeatureStore(other_store)["deep"].feature(f).is_dead)
    parameters = {"sae": "deep"}
    if page == "sparsity":
        parameters["picked"] = "deep"
    if page == "feature":
        parameters["feature"] = str(alive)
    at = run_page(page, other_store, **parameters)
    shown = texts(at) + str(tables(at))
    assert said in shown, shown[:2000]


def test_the_table_of_features_has_no_column_of_atoms(other_store: Path, digits_store: Path) -> None:
    assert "atom" not in tables(run_page("features", other_store, sae="deep"))[0]
    assert "atom" in tables(run_page("features", digits_store, sae="digits-relu"))[0]
