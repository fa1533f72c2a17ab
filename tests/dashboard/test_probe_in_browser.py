"""The Probe page with the real backend in a real Chromium: pictures dropped and picked, places pointed at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from saescope.store import FeatureStore
from tests.dashboard.browser_pages import part
from tests.dashboard.conftest import Serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
SAE = "digits-patches"


@pytest.fixture(autouse=True)
def _backend() -> None:
    pytest.importorskip("torch", reason="the probe needs the backend")


def features_here(page: Page) -> list[int]:
    values = part(page, "_probe_codes").locator(".here a").evaluate_all("links => links.map(a => a.dataset.value)")
    return [int(value) for value in values]


def test_a_dropped_picture_shows_its_features_and_one_of_the_store_takes_its_place(
    browser_page: Page, serve_store: Serve, digits_store: Path, tmp_path: Path
) -> None:
    with FeatureStore(digits_store) as store:
        entry = store[SAE]
        dropped, picked = entry.sample_item_ids()[:2]
        image = entry.item(dropped).image
        known = {item: [set(code.feature_ids) for code in entry.item_codes(item)] for item in (dropped, picked)}
    assert image is not None
    (tmp_path / "digit.png").write_bytes(image)
    browser_page.goto(f"{serve_store(digits_store)}/probe?sae={SAE}")
    browser_page.locator("input[type=file]").first.set_input_files(tmp_path / "digit.png")
    cells = part(browser_page, "_probe_codes").locator(".cell")
    cells.nth(4).wait_for()
    assert cells.count() == 9
    cells.nth(4).click()
    assert set(features_here(browser_page)) == known[dropped][4]
    part(browser_page, "_probe_offer").locator("a").nth(1).click()
    browser_page.wait_for_url(re.compile(rf"item={picked}\b"))
    cells.nth(4).click()
    browser_page.wait_for_function(
        """([key, wanted]) => {
          const root = document.querySelector(`.st-key-${key} [data-testid=stBidiComponentIsolated]`)?.shadowRoot;
          const cell = root?.querySelectorAll(".cell")[4];
          if (!cell) return false;
          cell.click();
          const found = [...root.querySelectorAll(".here a")].map((a) => +a.dataset.value).sort((a, b) => a - b);
          return JSON.stringify(found) === JSON.stringify(wanted);
        }""",
        arg=["_probe_codes", sorted(known[picked][4])],
    )
    browser_page.reload()
    cells.nth(4).wait_for()


def test_a_file_that_is_no_picture_is_told(
    browser_page: Page, serve_store: Serve, digits_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"this is no picture")
    browser_page.goto(f"{serve_store(digits_store)}/probe?sae={SAE}")
    browser_page.locator("input[type=file]").first.set_input_files(tmp_path / "broken.png")
    browser_page.get_by_text("The file is no picture that can be read").first.wait_for()
