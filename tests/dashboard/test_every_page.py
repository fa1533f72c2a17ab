"""Every page of every kind of entry is shown, and the pages of one with dead and dense features say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from saescope.store import FeatureStore, numbers
from tests.dashboard.pages import components, run_page, tables, texts

PAGES = (
    "library",
    "sparsity",
    "family",
    "features",
    "feature",
    "atoms",
    "probe",
    "health",
    "reconstructions",
    "generated",
)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("sae_id", ["photographs", "cached", "dead-and-dense"])
def test_no_page_fails(other_store: Path, sae_id: str, page: str) -> None:
    at = run_page(page, other_store, sae=sae_id, feature="3")
    assert ("#0003" if page == "feature" else sae_id) in texts(at) + str(tables(at))


@pytest.mark.parametrize("show", ["dead", "dense"])
def test_features_are_filtered_and_told_by_their_state(other_store: Path, show: str) -> None:
    with FeatureStore(other_store) as store:
        entry = store["dead-and-dense"]
        rows = entry.table("features").to_pylist()
        n = entry.n_positions
    expected = {row["feature_id"]: row for row in rows if row[f"is_{show}"]}
    assert expected
    at = run_page("features", other_store, sae="dead-and-dense", show=show)
    assert f"{len(expected)} of 256 features" in texts(at)
    shown = tables(at)[0]
    ids = [int(name.strip("# ★")) for name in shown["feature"]]
    assert sorted(ids) == sorted(expected)
    told = [numbers.dead(n) if show == "dead" else numbers.density(expected[i]["density"]) for i in ids]
    assert shown["density"] == told


def test_a_dead_feature_has_a_page_that_says_so(other_store: Path) -> None:
    with FeatureStore(other_store) as store:
        entry = store["dead-and-dense"]
        dead = next(row["feature_id"] for row in entry.table("features").to_pylist() if row["is_dead"])
        assert entry.examples(dead) == []
        assert entry.feature(dead).max_rank is None
    at = run_page("feature", other_store, sae="dead-and-dense", feature=str(dead))
    assert f"#{dead:04d}" in texts(at).replace("&nbsp;", " ")
    assert "dead" in texts(at)
    assert components(at, "saescope_activation_histogram")[0]["counts"] == []
