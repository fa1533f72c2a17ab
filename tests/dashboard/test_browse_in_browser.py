"""What only a browser can show: clicks that go somewhere, addresses that restore a view, Back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def served(serve_store: Any, digits_store: Path) -> str:
    """The address of a dashboard on the small store, ending in a slash."""
    return f"{serve_store(digits_store)}/"


@pytest.fixture
def tab(browser_page: Any) -> Any:
    return browser_page


def _open(tab: Any, address: str) -> None:
    tab.goto(address)
    tab.get_by_test_id("stHeading").first.wait_for()


def _title(tab: Any, text: str) -> None:
    """Wait for the page with this title."""
    tab.get_by_role("heading", name=text, exact=True).first.wait_for()


def _parameters(tab: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(tab.url).query).items()}


def _wait_for_parameter(tab: Any, name: str, value: str | None) -> None:
    tab.wait_for_function("([n, v]) => new URLSearchParams(location.search).get(n) === v", arg=[name, value])


def test_a_row_of_the_library_opens_its_features_and_back_returns(tab: Any, served: str) -> None:
    _open(tab, served)
    _title(tab, "Library")
    tab.get_by_role("link", name="digits-topk-k4").first.click()
    _title(tab, "Features")
    assert _parameters(tab)["sae"] == "digits-topk-k4"
    tab.get_by_text("64 of 64 features").first.wait_for()
    tab.go_back()
    _title(tab, "Library")


def test_a_row_of_the_features_names_its_address_for_a_new_tab(tab: Any, served: str) -> None:
    _open(tab, f"{served}features?sae=digits-relu")
    link = tab.get_by_role("link", name=re.compile("^#0012")).first
    link.wait_for()
    assert link.get_attribute("href") == "/feature?sae=digits-relu&feature=12"


def test_sorting_searching_and_back(tab: Any, served: str) -> None:
    from playwright.sync_api import expect

    _open(tab, f"{served}features?sae=digits-topk-k8")
    tab.get_by_role("button", name="norm", exact=True).click()
    _wait_for_parameter(tab, "sort", "decoder_norm")
    box = tab.get_by_label("Search")
    box.fill("density > 0.12")
    box.press("Enter")
    _wait_for_parameter(tab, "q", "density > 0.12")
    tab.get_by_text(re.compile(r"^\d of 64 features|^[1-5]\d of 64 features")).first.wait_for()
    address = tab.url
    tab.go_back()
    _wait_for_parameter(tab, "q", None)
    tab.get_by_text("64 of 64 features").first.wait_for()
    expect(tab.get_by_label("Search")).to_have_value("", timeout=20_000)
    _open(tab, address)  # the address alone restores the view
    tab.get_by_text(re.compile(r"^\d of 64 features|^[1-5]\d of 64 features")).first.wait_for()
    expect(tab.get_by_label("Search")).to_have_value("density > 0.12", timeout=20_000)
    expect(tab.locator("th[aria-sort=descending]")).to_have_text(re.compile("^norm"), timeout=20_000)


def test_a_click_on_a_point_opens_the_sae_or_picks_it(tab: Any, served: str) -> None:
    _open(tab, f"{served}sparsity?sae=digits-relu&click=picks")
    points = tab.locator(".js-plotly-plot .scatterlayer path.point")
    points.first.wait_for()
    tab.wait_for_timeout(1000)
    _click_point(tab, "digits-topk-k4")
    _wait_for_parameter(tab, "picked", "digits-topk-k4")
    tab.get_by_role("link", name="digits-topk-k4").first.wait_for()
    _open(tab, f"{served}sparsity?sae=digits-relu")
    tab.locator(".js-plotly-plot .scatterlayer path.point").first.wait_for()
    tab.wait_for_timeout(1000)
    _click_point(tab, "digits-topk-k2")
    _title(tab, "Features")
    assert _parameters(tab)["sae"] == "digits-topk-k2"


def _click_point(tab: Any, sae_id: str) -> None:
    """Click the point of the chart that carries `sae_id`."""
    place = tab.evaluate(
        """sae => {
          const plot = document.querySelector('.js-plotly-plot');
          for (const trace of plot._fullData) {
            const at = (trace.customdata ?? []).findIndex((c) => c[0] === sae);
            if (at < 0) continue;
            const { xaxis, yaxis } = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            const [x, y] = [xaxis.d2p(trace.x[at]), yaxis.d2p(trace.y[at])];
            return [box.left + xaxis._offset + x, box.top + yaxis._offset + y];
          }
        }""",
        sae_id,
    )
    assert place is not None
    tab.mouse.move(*place)
    tab.wait_for_timeout(300)
    tab.mouse.click(*place)


def test_a_brush_lists_what_lies_in_it_and_a_point_opens_a_feature(tab: Any, served: str) -> None:
    _open(tab, f"{served}features?sae=digits-relu")
    plot = tab.locator(".js-plotly-plot .nsewdrag").first
    plot.wait_for()
    tab.wait_for_timeout(1000)
    area = plot.bounding_box()
    tab.mouse.move(area["x"] + 5, area["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] * 0.6, steps=5)
    tab.mouse.up()
    tab.get_by_role("button", name=re.compile("^Region:")).first.wait_for()
    assert len(_parameters(tab)["box"].split(",")) == 4
    tab.get_by_role("button", name=re.compile("^Region:")).first.click()
    _wait_for_parameter(tab, "box", None)
    tab.get_by_text("64 of 64 features").first.wait_for()


def test_an_unknown_sae_leads_back_to_the_library(tab: Any, served: str) -> None:
    tab.goto(f"{served}health?sae=nope")
    tab.get_by_text("No such SAE here").wait_for()
    tab.get_by_role("link", name="Back to the library").click()
    _title(tab, "Library")


def test_the_pages_keep_the_sae_that_was_picked(tab: Any, served: str) -> None:
    _open(tab, f"{served}features?sae=digits-patches")
    tab.get_by_role("link", name="Health", exact=True).click()
    _title(tab, "Health")
    assert _parameters(tab)["sae"] == "digits-patches"


@pytest.mark.parametrize("page", ["library", "sparsity", "features", "health"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_overflows_or_offers_developers_tools(tab: Any, served: str, page: str, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    _open(tab, f"{served}{page}?sae=digits-relu")
    tab.wait_for_timeout(1500)
    main = "document.querySelector('[data-testid=stMain]')"
    assert tab.evaluate(f"{main}.scrollWidth - {main}.clientWidth") <= 2
    assert tab.get_by_test_id("stException").count() == 0
    assert (
        tab.get_by_test_id("stAppDeployButton").count() == 0 or not tab.get_by_test_id("stAppDeployButton").is_visible()
    )
    assert not tab.get_by_test_id("stMainMenu").is_visible()
