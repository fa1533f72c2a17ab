"""The map of a code of two or three units: its points, their labels and the items behind them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from saescope.dashboard.presentation.latents import groups_of
from saescope.store import FeatureStore
from tests.dashboard.conftest import Serve
from tests.dashboard.pages import components, run_page
from tests.small_stores.making import DIGITS, _train_and_build

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def narrow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An entry of two units and one of three."""
    folder = tmp_path_factory.mktemp("narrow")
    small = ("--arch", "abstopk", "--batch-size", 256, "--steps", 30)
    _train_and_build(folder, "two", DIGITS, *small, "--n-features", 2, "--k", 2)
    _train_and_build(folder, "three", DIGITS, *small, "--n-features", 3, "--k", 3)
    return folder / "store"


def test_labels_are_grouped_in_their_own_order_and_rare_ones_together() -> None:
    labels = ["10", "9", "b", "a", None, "9", "b", "10", "rare"]
    groups, names = groups_of(labels, 4)
    assert names == ["9", "10", "a", "b", "other", "no label"]
    assert [names[g] for g in groups] == ["10", "9", "b", "a", "no label", "9", "b", "10", "other"]
    assert groups_of([None, None], 4) == ([0, 0], ["no label"])


@pytest.mark.parametrize(("sae_id", "n_units"), [("two", 2), ("three", 3)])
def test_every_kept_code_is_a_point(narrow_store: Path, sae_id: str, n_units: int) -> None:
    (data,) = components(run_page("reconstructions", narrow_store, sae=sae_id, view="map"), "saescope_latent_map")
    with FeatureStore(narrow_store) as store:
        table = store[sae_id].latent_map()
    assert table is not None
    codes = np.stack(table["values"].to_pylist())
    assert codes.shape == (1797, n_units)
    np.testing.assert_allclose(np.array(data["codes"]).T, codes, atol=6e-5)
    assert data["values"] == table["item_id"].to_pylist()
    assert data["names"] == [str(digit) for digit in range(10)]
    assert [data["names"][g] for g in data["groups"]] == table["label"].to_pylist()
    assert data["sprite"]["n"] == 1797
    assert data["tips"][0].startswith("item 0\nlabel: 0\n(")


def test_wider_codes_have_no_map(digits_store: Path) -> None:
    at = run_page("reconstructions", digits_store, sae="digits-relu", view="map")
    assert not components(at, "saescope_latent_map")
    assert components(at, "saescope_reconstruction_rows")


def test_a_point_shows_its_item_and_opens_it(narrow_store: Path, serve_store: Serve, browser_page: Page) -> None:
    browser_page.goto(f"{serve_store(narrow_store)}/reconstructions?sae=three&view=map")
    canvases = browser_page.locator("canvas[aria-label^='Codes of the sampled items']")
    canvases.first.wait_for()
    assert canvases.count() == 3
    box = canvases.first.bounding_box()
    assert box is not None
    tip = browser_page.locator(".tip.point")
    for share in (0.3, 0.4, 0.5, 0.6, 0.7):  # somewhere there is a point
        browser_page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.5)
        if tip.is_visible():
            break
    assert re.search(r"item \d+", tip.inner_text())
    assert tip.locator(".picture").count() == 1
    browser_page.mouse.down()
    browser_page.mouse.up()
    browser_page.wait_for_url(re.compile(r"item=\d+"))
