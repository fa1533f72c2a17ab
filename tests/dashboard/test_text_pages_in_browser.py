"""The pages of a store of texts in a real Chromium: what stands where, what is text, where clicks lead."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from saescope.store import FeatureStore
from saescope.store.token_text import text_of
from tests.dashboard.browser_pages import address, boxes_at_rest, part
from tests.dashboard.conftest import Serve

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
SAE = "texts-topk-k4"


def open_feature(page: Page, server: str, feature: int, **more: object) -> None:
    query = "".join(f"&{name}={value}" for name, value in more.items())
    page.goto(f"{server}/feature?sae={SAE}&feature={feature}{query}")
    settled(page, feature)


def settled(page: Page, feature: int) -> None:
    part(page, "feature-title").get_by_text(f"#{feature:04d}").wait_for()
    part(page, "_feature_examples").locator(".here").first.wait_for()
    idle(page)


def idle(page: Page) -> None:
    """Wait until the page's script has ended: what it draws until then may still be drawn anew."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"
    )


def test_everything_essential_is_above_the_fold_and_nothing_jumps(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    keys = ("_feature_histogram", "_feature_tokens", "_feature_tab", "_feature_examples", "_feature_neighbours")
    places = []
    for feature in (5, 7, 40):
        open_feature(browser_page, serve_store(texts_store), feature)
        part(browser_page, "_feature_neighbours").locator("a").first.wait_for()
        boxes = boxes_at_rest(browser_page, keys)
        places.append([(round(box["x"]), round(box["y"])) for box in boxes])
        tokens, examples = boxes[1], boxes[3]
        assert tokens["y"] + tokens["height"] < 360
        assert examples["y"] + 15 * 26 < 900
    assert places[0] == places[1] == places[2]


def test_the_firing_token_stands_in_the_same_column_of_every_line(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    open_feature(browser_page, serve_store(texts_store), 7)
    here = part(browser_page, "_feature_examples").locator(".here")
    browser_page.wait_for_timeout(300)
    boxes = [here.nth(i).bounding_box() for i in range(here.count())]
    assert len(boxes) == 20
    middles = [box["x"] + box["width"] / 2 for box in boxes if box]
    assert max(middles) - min(middles) < 3


def test_a_line_tells_token_id_activation_and_position_and_opens(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    open_feature(browser_page, serve_store(texts_store), 20)
    with FeatureStore(texts_store) as store:
        entry = store[SAE]
        example = entry.examples(20, "top")[0]
        item = entry.item(example.item_id)
    assert item.tokens is not None
    assert item.token_ids is not None
    examples = part(browser_page, "_feature_examples")
    line = examples.locator(".line").first
    line.locator(".here").hover()
    tip = examples.locator(".tip").inner_text()
    assert f"token {item.token_ids[example.position]}" in tip
    assert f"position {example.position}" in tip
    assert f"activation {example.activation:.3g}" in tip
    line.locator("button").click()
    shown = line.locator(".token").count()
    assert line.locator("button").get_attribute("aria-expanded") == "true"
    assert shown == len(item.tokens)
    line.locator("button").click()
    assert line.locator("button").get_attribute("aria-expanded") == "false"


def test_markup_is_text_and_other_scripts_keep_their_direction(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    server = serve_store(texts_store)
    with FeatureStore(texts_store) as store:
        entry = store[SAE]
        items = {row["item_id"]: row for row in entry.table("items").to_pylist()}
        examples = entry.table("examples").to_pylist()

        def feature_with(words: str, begins: str = "") -> tuple[int, int, str]:
            spelled = {i: text_of(row["tokens"]) for i, row in items.items()}
            wanted = {i for i, text in spelled.items() if words in text and text.startswith(begins)}
            row = next(r for r in examples if r["kind"] == "top" and r["item_id"] in wanted)
            return row["feature_id"], row["rank"], text_of(items[row["item_id"]]["tokens"])

        markup, hebrew = feature_with("<script>"), feature_with("חורין", begins="<|begin|>")
    for (feature, rank, text), direction in ((markup, "ltr"), (hebrew, "rtl")):
        open_feature(browser_page, server, feature, context="whole")
        line = part(browser_page, "_feature_examples").locator(".text").nth(rank)
        line.wait_for()
        assert line.evaluate("e => getComputedStyle(e).direction") == direction
        shown = re.sub(r"[\s↵·]", "", line.inner_text())
        assert shown.startswith(re.sub(r"\s", "", text)[:20])
        assert line.locator("script, img, b, a").count() == 0
    assert browser_page.title() != "owned"


def test_a_token_leads_to_its_features(browser_page: Page, serve_store: Serve, texts_store: Path) -> None:
    with FeatureStore(texts_store) as store:
        feature = next(i for i in range(96) if store[SAE].first_tokens([i]) == {i: "\n"})
    open_feature(browser_page, serve_store(texts_store), feature)
    part(browser_page, "_feature_tokens").locator("a").first.click()
    browser_page.wait_for_url(re.compile("/features"))
    assert address(browser_page) == {"sae": SAE, "q": 'token:"\\n"'}
    browser_page.get_by_text(re.compile(r"^\d+ of 96 features")).first.wait_for()
    browser_page.get_by_role("link", name=f"#{feature:04d}").first.wait_for()


def test_neighbours_move_and_back_returns(browser_page: Page, serve_store: Serve, texts_store: Path) -> None:
    open_feature(browser_page, serve_store(texts_store), 20)
    with FeatureStore(texts_store) as store:
        nearest = store[SAE].neighbours(20)[0].neighbour_id
    part(browser_page, "_feature_neighbours").locator("a").first.click()
    settled(browser_page, nearest)
    assert address(browser_page) == {"sae": SAE, "feature": str(nearest)}
    browser_page.go_back()
    settled(browser_page, 20)


def test_an_example_opens_its_item_coloured_by_the_feature(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    open_feature(browser_page, serve_store(texts_store), 20)
    part(browser_page, "_feature_examples").locator("a.meta").first.click()
    browser_page.wait_for_url(re.compile("/reconstructions"))
    assert address(browser_page)["feature"] == "20"
    item = part(browser_page, "_item_codes")
    item.locator(".pinned").wait_for()
    assert item.locator(".pinned").evaluate("e => e.style.backgroundColor") != ""


def n_coloured(tokens: Locator) -> int:
    return int(tokens.evaluate_all("all => all.filter(e => e.style.backgroundColor).length"))


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Let the page work until something holds; fails where it does not within five seconds."""
    for _ in range(50):
        if holds():
            return
        page.wait_for_timeout(100)
    assert holds()


def test_places_show_their_features_and_features_their_places(
    browser_page: Page, serve_store: Serve, texts_store: Path
) -> None:
    with FeatureStore(texts_store) as store:
        entry = store[SAE]
        item = max(entry.sample_item_ids(), key=lambda i: len(entry.item_codes(i)))
        codes = {code.position: code for code in entry.item_codes(item)}
    browser_page.goto(f"{serve_store(texts_store)}/reconstructions?sae={SAE}&item={item}")
    shown = part(browser_page, "_item_codes")
    tokens = shown.locator(".stage .token")
    tokens.first.wait_for()
    idle(browser_page)
    tokens.nth(5).click()
    links = shown.locator(".here a")
    first = tokens.nth(5).evaluate("e => e._tip").splitlines()[1]
    position = int(first.rsplit(" ", 1)[1])
    found = [int(value) for value in links.evaluate_all("links => links.map(a => a.dataset.value)")]
    assert found == codes[position].feature_ids
    links.first.hover()
    wait_until(browser_page, lambda: n_coloured(tokens) > 0)
    browser_page.mouse.move(5, 5)
    wait_until(browser_page, lambda: n_coloured(tokens) == 0)
    links.first.click()
    settled(browser_page, found[0])


@pytest.mark.parametrize("page", ["feature", "features", "reconstructions", "probe"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_overflows(browser_page: Page, serve_store: Serve, texts_store: Path, page: str, width: int) -> None:
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.goto(f"{serve_store(texts_store)}/{page}?sae={SAE}")
    browser_page.locator("h1, h3").first.wait_for()
    browser_page.wait_for_timeout(1500)
    main = "document.querySelector('[data-testid=stMain]')"
    assert browser_page.evaluate(f"{main}.scrollWidth - {main}.clientWidth") <= 2
    assert browser_page.get_by_test_id("stException").count() == 0
