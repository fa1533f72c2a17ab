"""Pages of codes that nothing makes sparse, and of signed ones: no fault is seen where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saescope.dashboard.components.feature_scatter import _axis
from saescope.dashboard.views.health import density_figure
from saescope.store import FeatureStore
from tests.dashboard.pages import components, run_page, tables, texts
from tests.small_stores.making import DIGITS, _train_and_build


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`dense`: an undercomplete code; `signed`: a sparse one with either sign."""
    folder = tmp_path_factory.mktemp("dense")
    small = ("--batch-size", 256, "--steps", 60)
    _train_and_build(folder, "dense", DIGITS, "--arch", "undercomplete", "--n-features", 5, *small)
    _train_and_build(folder, "signed", DIGITS, "--arch", "abstopk", "--n-features", 32, "--k", 4, *small)
    return folder / "store"


def test_a_dense_code_is_told_from_its_metrics(store: Path) -> None:
    with FeatureStore(store) as opened:
        assert opened["dense"].has_dense_code
        assert not opened["signed"].has_dense_code
        assert opened["dense"].effects([0])[0].step != 1


def test_health_says_what_dense_means_of_a_dense_code(store: Path) -> None:
    said = texts(run_page("health", store, sae="dense"))
    assert "This code is dense as a whole" in said
    with FeatureStore(store) as opened:
        assert opened["dense"].manifest.constraint in said
    assert "List the dense features" not in said
    assert "This code is dense" not in texts(run_page("health", store, sae="signed"))


def test_dense_features_are_marked_in_sparse_codes_alone() -> None:
    densities = np.array([0.02, 0.9, 1.0])
    marked, plain = (density_figure(densities, 1000, dense) for dense in (False, True))
    assert len(set(marked["data"][0]["marker"]["color"])) == 2
    assert len(set(plain["data"][0]["marker"]["color"])) == 1
    assert [note["text"] for note in plain["layout"]["annotations"]] == ["dead"]


def test_no_unit_of_a_dense_code_is_amber(store: Path) -> None:
    (grid,) = components(run_page("atoms", store, sae="dense"), "saescope_picture_tiles")
    assert not any("tone" in tile for tile in grid["tiles"])
    rows = tables(run_page("library", store))
    assert [row for table in rows for row in table["dense"]].count("all of the code") == 1


def test_a_share_has_no_axis_beyond_one() -> None:
    assert _axis("density", np.array([1.0, 1.0]), log=True).range == (1 / 1.5, 1.1)


def test_signed_activations_stand_with_their_sign(store: Path) -> None:
    (data,) = components(run_page("reconstructions", store, sae="signed"), "saescope_reconstruction_rows")
    written = [b["text"] for row in data["rows"] for b in row["builders"]]
    assert any(text.startswith("−") for text in written)
    assert all(text.count("\n") == 1 and text.endswith("%") for text in written)
    with FeatureStore(store) as opened:
        entry = opened["signed"]
        below = next(f for f in range(32) if (entry.feature(f).max_activation or 0) < 0)
    said = run_page("feature", store, sae="signed", feature=str(below))
    assert any("<dd>−" in str(element.proto.body) for element in said.get("html"))
    (strip,) = (d for d in components(said, "saescope_picture_tiles") if d["label"] == "Examples")
    assert strip["tiles"][0]["caption"].startswith("−")


def test_units_of_a_decoder_that_is_not_linear_stand_by_activation(store: Path) -> None:
    (data,) = components(run_page("reconstructions", store, sae="dense"), "saescope_reconstruction_rows")
    assert data["titles"][-1]["text"] == "strongest units"
    builders = data["rows"][0]["builders"]
    assert len(builders) == 5
    strengths = [abs(b["share"]) for b in builders]
    assert strengths == sorted(strengths, reverse=True)
    assert all("%" not in b["text"] for b in builders)
