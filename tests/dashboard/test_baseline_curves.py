"""Classical methods beside the SAEs on the page Sparsity, and their entries on the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from saescope.baselines.registry import METHODS
from saescope.dashboard import theme
from saescope.dashboard.views.sparsity import BASELINES
from saescope.sources import SourceOptions
from saescope.store import FeatureStore
from saescope.workflows import SweepPlan, sweep
from tests.dashboard.pages import charts, run_page

NAMES = ["pca", "nmf", "kmeans", "neurons"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("baselines") / "store"
    training = {"architecture": "topk", "n_features": 16, "steps": 20}
    sweep(SweepPlan("digits", SourceOptions(images="embedded:digits"), training, [2, 4], baselines=NAMES), root)
    return root


def dashed(at: AppTest) -> dict[str, dict[str, Any]]:
    """The curves of baselines by title."""
    return {t["name"]: t for t in charts(at)[0]["data"] if t["line"].get("dash") == "dash"}


def test_every_method_has_a_title_a_colour_and_a_marker_of_its_own() -> None:
    assert set(BASELINES) == set(METHODS)
    drawn = [(theme.family_colour(name), theme.family_symbol(name)) for name in METHODS]
    assert len({colour for colour, _ in drawn}) == len({symbol for _, symbol in drawn}) == len(METHODS)


def test_each_baseline_is_a_curve_of_its_rows(store: Path) -> None:
    at = run_page("sparsity", store, y="mse")
    curves = dashed(at)
    assert set(curves) == {"PCA", "NMF", "k-means", "neurons"}
    with FeatureStore(store) as opened:
        table = opened["digits-topk-k2"].baselines()
    assert table is not None
    for name in NAMES:
        rows = {row["l0"]: row["mse"] for row in table.to_pylist() if row["name"] == name}
        trace = curves[BASELINES[name]]
        assert trace["marker"]["color"] == theme.family_colour(name)
        assert [rows[x] for x in trace["x"]] == trace["y"]
        assert trace["x"] == sorted(trace["x"])
    assert re.search(r"1 of 16 atoms, fitted in .+ s<br>fitted on 1,617 of 1,617", curves["k-means"]["hovertext"][0])
    names = [note["text"] for note in charts(at)[0]["layout"]["annotations"]]
    assert {"PCA", "NMF", "k-means", "neurons"} <= set(names)


@pytest.mark.parametrize(("given", "titles"), [("pca,neurons,nonsense", {"PCA", "neurons"}), ("none", set())])
def test_the_address_says_which_are_drawn(store: Path, given: str, titles: set[str]) -> None:
    assert set(dashed(run_page("sparsity", store, baselines=given))) == titles


def test_switching_one_off_moves_the_address(store: Path) -> None:
    at = run_page("sparsity", store)
    pills = next(group for group in at.get("button_group") if group.label == "Baselines")
    pills.set_value(["pca", "nmf", "kmeans"]).run()
    assert at.query_params["baselines"] == "pca,nmf,kmeans"
    assert set(dashed(at)) == {"PCA", "NMF", "k-means"}
