"""Reconstructions of a denoiser: the slider over levels, the scores beside classical denoisers, the items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saescope.dashboard.presentation.denoising import Score, chosen_level, psnr_range
from saescope.store import FeatureStore
from saescope.store.check.verification import verify
from tests.dashboard.denoised import LEVELS, N_ITEMS, SAE_ID, make_denoised
from tests.dashboard.pages import charts, components, run_page, tables, texts


@pytest.fixture(scope="module")
def denoised_store(digits_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_denoised(digits_store, tmp_path_factory.mktemp("denoised") / "store")


def matrix(at: Any) -> dict[str, Any]:
    (found,) = components(at, "saescope_picture_matrix")
    return found


def test_the_store_is_whole(denoised_store: Path) -> None:
    assert verify(denoised_store) == []


def test_the_address_names_a_level_and_the_nearest_kept_one_is_shown(denoised_store: Path) -> None:
    for given, level in (("0.4", 0.4), ("0.35", 0.4), ("9", 0.8), ("", 0.4), ("x", 0.4), ("nan", 0.4)):
        assert chosen_level(LEVELS, given) == level
    at = run_page("reconstructions", denoised_store, sae=SAE_ID, noise="0.2")
    assert at.select_slider[0].value == 0.2
    assert ["level 0.2"] in [column["lines"] for column in matrix(at)["columns"]]


def test_filters_of_clean_items_do_not_flatten_the_chart() -> None:
    measured = {
        level: {m: Score(m, "", psnr, None, 5) for m, psnr in found.items()}
        for level, found in ((0.0, {"model": 30.0, "median": 90.0}), (0.4, {"model": 20.0, "median": 10.0}))
    }
    assert psnr_range(measured, ["model", "median"]) == (10 - 1.6, 30 + 1.6)
    assert psnr_range({0.0: {"median": Score("median", "", None, None, 5)}}, ["median"]) is None


def test_moving_the_slider_changes_the_address(denoised_store: Path) -> None:
    at = run_page("reconstructions", denoised_store, sae=SAE_ID)
    at.select_slider[0].set_value(0.8).run()
    assert at.query_params["noise"] == "0.8"
    assert ["level 0.8"] in [column["lines"] for column in matrix(at)["columns"]]


def test_both_figures_of_each_classical_denoiser_stand_beside_the_model(denoised_store: Path) -> None:
    at = run_page("reconstructions", denoised_store, sae=SAE_ID, noise="0.4")
    shown = tables(at)[0]
    assert shown["method"][:2] == ["this model", "corrupted"]
    assert set(shown["method"][2:]) == {"gaussian", "median"}
    with FeatureStore(denoised_store) as store:
        rows = store[SAE_ID].denoising_metrics().to_pylist()
    means = {row["method"]: row["psnr"] for row in rows if row["level"] == 0.4}
    by_name = dict(zip(shown["method"], zip(shown["PSNR (dB)"], shown["PSNR + curve"], strict=True), strict=True))
    assert by_name["this model"] == (f"{means['model']:.2f}", "")
    assert by_name["gaussian"] == (f"{means['gaussian']:.2f}", f"{means['gaussian+curve']:.2f}")
    assert by_name["median"] == (f"{means['median']:.2f}", "")
    assert f"Means over {N_ITEMS} items" in texts(at)
    assert [trace["name"] for trace in charts(at)[0]["data"]][:2] == ["model", "corrupted"]


def test_items_are_shown_clean_corrupted_denoised_and_what_is_left(denoised_store: Path) -> None:
    at = run_page("reconstructions", denoised_store, sae=SAE_ID, noise="0.4", against="gaussian")
    data = matrix(at)
    titles = [column["title"] for column in data["columns"]]
    assert titles == ["", "clean", "corrupted", "denoised", "residual", "gaussian", "gaussian"]
    assert len(data["rows"]) == 6
    with FeatureStore(denoised_store) as store:
        entry = store[SAE_ID]
        first = entry.denoised_item_ids()[0]
        kept = {row["method"]: row["psnr"] for row in entry.denoised(first, 0.4).to_pylist()}
    cells = data["rows"][0]["cells"]
    assert cells[1]["lines"] == [f"{kept['corrupted']:.1f} dB", "SSIM 0.500"]
    assert cells[2]["lines"][0] == f"{kept['model']:.1f} dB"
    assert cells[3]["lines"] == []
    assert [cell["strong"] for cell in cells] == [m == "model" for m in ("c", "corrupted", "model", "r", "g", "g+")]


def test_items_without_noise_are_equal(denoised_store: Path) -> None:
    data = matrix(run_page("reconstructions", denoised_store, sae=SAE_ID, noise="0"))
    assert data["rows"][0]["cells"][1]["lines"][0] == "equal"


def test_what_it_makes_of_clean_items_is_a_click_away(denoised_store: Path) -> None:
    at = run_page("reconstructions", denoised_store, sae=SAE_ID, view="rebuilt")
    assert components(at, "saescope_reconstruction_rows")
    assert not components(at, "saescope_picture_matrix")


def test_entries_that_do_not_denoise_have_no_such_choice(digits_store: Path) -> None:
    at = run_page("reconstructions", digits_store, sae=SAE_ID)
    assert components(at, "saescope_reconstruction_rows")
    assert not at.select_slider
