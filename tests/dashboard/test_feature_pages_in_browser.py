"""The pages Feature, Atoms and Reconstructions in a real Chromium: clicks, keys, history, addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from saescope.store import FeatureStore
from tests.dashboard.browser_pages import address, boxes_at_rest, part
from tests.dashboard.conftest import Serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
SAE = "digits-topk-k8"


def settled(page: Page, feature: int) -> None:
    """Wait until the page shows `feature` and nothing runs any more."""
    part(page, "feature-title").get_by_text(f"#{feature:04d}").wait_for()
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
    )


def open_feature(page: Page, server: str, feature: int, **more: object) -> None:
    query = "".join(f"&{name}={value}" for name, value in more.items())
    page.goto(f"{server}/feature?sae={SAE}&feature={feature}{query}")
    settled(page, feature)


def test_chips_move_and_back_returns(browser_page: Page, serve_store: Serve, digits_store: Path) -> None:
    open_feature(browser_page, serve_store(digits_store), 5)
    with FeatureStore(digits_store) as store:
        nearest = store[SAE].neighbours(5)[0].neighbour_id
    part(browser_page, "_feature_neighbours").locator("a").first.click()
    settled(browser_page, nearest)
    assert address(browser_page) == {"sae": SAE, "feature": str(nearest)}
    browser_page.go_back()
    settled(browser_page, 5)
    assert address(browser_page)["feature"] == "5"
    browser_page.reload()
    settled(browser_page, 5)


def test_the_address_restores_the_interval_and_the_histogram_picks_it(
    browser_page: Page, serve_store: Serve, digits_store: Path
) -> None:
    open_feature(browser_page, serve_store(digits_store), 5, tab=2)
    part(browser_page, "_feature_histogram").locator("rect.chosen").wait_for(state="attached")
    chosen = part(browser_page, "_feature_tab").locator("[aria-checked=true], [aria-pressed=true], [kind$=Active]")
    with FeatureStore(digits_store) as store:
        expected = [e.item_id for e in store[SAE].examples(5, "interval", 1)]
    strip = part(browser_page, "_feature_examples").locator("a")
    assert [int(value) for value in strip.evaluate_all("links => links.map(a => a.dataset.value)")] == expected
    part(browser_page, "_feature_histogram").locator("rect.catcher").last.click()
    browser_page.wait_for_url(re.compile(r"tab=1\b"))
    assert chosen.count() <= 1


def test_everything_essential_is_above_the_fold_and_nothing_jumps(
    browser_page: Page, serve_store: Serve, digits_store: Path
) -> None:
    keys = ("_feature_atom", "_feature_histogram", "_feature_tab", "_feature_examples", "_feature_neighbours")
    places = []
    for feature in (5, 6, 40):
        open_feature(browser_page, serve_store(digits_store), feature)
        part(browser_page, "_feature_neighbours").locator("a").first.wait_for()
        boxes = boxes_at_rest(browser_page, keys)
        places.append([(round(box["x"]), round(box["y"])) for box in boxes])
        last = boxes[-1]
        assert last["y"] + last["height"] < 900
    assert places[0] == places[1] == places[2]


def test_an_example_opens_its_item(browser_page: Page, serve_store: Serve, digits_store: Path) -> None:
    open_feature(browser_page, serve_store(digits_store), 5)
    first = part(browser_page, "_feature_examples").locator("a").first
    item = first.get_attribute("data-value")
    first.click()
    browser_page.wait_for_url(re.compile("/reconstructions"))
    assert address(browser_page) == {"sae": SAE, "item": item}
    part(browser_page, "_reconstruction_rows").get_by_text(f"item {int(str(item)):,}").wait_for()


def test_atoms_open_by_click_and_by_keyboard(browser_page: Page, serve_store: Serve, digits_store: Path) -> None:
    server = serve_store(digits_store)
    browser_page.goto(f"{server}/atoms?sae={SAE}&sort=feature_id")
    grid = part(browser_page, "_atoms_grid")
    grid.locator("a").nth(7).click()
    settled(browser_page, 7)
    assert address(browser_page) == {"sae": SAE, "feature": "7"}
    browser_page.go_back()
    browser_page.wait_for_url(f"**/atoms?sae={SAE}&sort=feature_id")
    grid.locator("a").first.focus()
    browser_page.keyboard.press("ArrowRight")
    browser_page.keyboard.press("ArrowDown")
    below = grid.locator("a:focus").get_attribute("data-value")
    columns = grid.locator("a").evaluate_all("a => a.findIndex(e => e.offsetTop > a[0].offsetTop)")
    assert below == str(columns + 1)
    browser_page.keyboard.press("Enter")
    settled(browser_page, int(below))
    assert grid.count() == 0


def test_the_arrow_keys_of_the_page_step_through_features(
    browser_page: Page, serve_store: Serve, digits_store: Path
) -> None:
    open_feature(browser_page, serve_store(digits_store), 5)
    part(browser_page, "_feature_next").locator("button").wait_for()
    browser_page.keyboard.press("ArrowRight")
    settled(browser_page, 6)
    browser_page.keyboard.press("ArrowLeft")
    settled(browser_page, 5)


def test_text_from_people_stays_text(browser_page: Page, serve_store: Serve, own_store: Path) -> None:
    label = "<img src=x onerror=\"document.title='owned'\"> **bold** :red[x] $x$"
    with FeatureStore(own_store) as store:
        holder, labelled = 0, store[SAE].neighbours(0)[0].neighbour_id
        store[SAE].label(labelled, label)
    server = serve_store(own_store)
    open_feature(browser_page, server, labelled)
    assert part(browser_page, "feature-title").locator("h3").inner_text().endswith(label)
    browser_page.goto(f"{server}/atoms?sae={SAE}&sort=feature_id")
    part(browser_page, "_atoms_grid").locator("a").nth(labelled).hover()
    tip = part(browser_page, "_atoms_grid").locator(".tip")
    assert tip.inner_text().splitlines()[0] == f"#{labelled} {label}"
    assert tip.locator("img").count() == 0
    open_feature(browser_page, server, holder)
    assert browser_page.title() != "owned"


def test_links_lead_where_clicks_lead(browser_page: Page, serve_store: Serve, digits_store: Path) -> None:
    server = serve_store(digits_store)
    open_feature(browser_page, server, 5)
    chip = part(browser_page, "_feature_neighbours").locator("a").first
    target, value = chip.get_attribute("href"), chip.get_attribute("data-value")
    assert target == f"/feature?sae={SAE}&feature={value}"
    browser_page.goto(server + target)
    settled(browser_page, int(str(value)))
