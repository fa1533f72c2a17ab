"""Features: all features of one SAE as a scatter and a table; search, filter and sort on any statistic.

Address: `q` (the store's query language), `show`, `sort`, `order`, `page`, `x`, `y` (axes), `box` (a brushed region).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from saescope.dashboard import charts, panels
from saescope.dashboard.components import feature_scatter
from saescope.dashboard.components.feature_scatter import Box
from saescope.dashboard.components.feature_table import STATISTICS, feature_table
from saescope.dashboard.components.table import Sort
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import sources
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.state import controls, links, reads
from saescope.store.errors import QueryError
from saescope.store.numbers import count
from saescope.store.read.queries import RELEVANCE
from saescope.store.search.condition import is_ranked

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

PAGE_SIZE = 100
_SCATTER = "_saescope_scatter"
_CLICKED = "_saescope_clicked"
_SHOW = {"all": "all", "live": "live", "dead": "dead", "dense": "dense", "starred": "starred"}
_FILTERS = {"live": "not is:dead", "dead": "is:dead", "dense": "is:dense", "starred": "is:starred"}
_ASCENDING = {"feature_id"}
"""Columns that one wants from small to large first."""


def compose(q: str, show: str, box: Box | None, x: str, y: str) -> str:
    """The whole query: what was typed, the filter, and the brushed region."""
    others = [part for part in (_FILTERS.get(show, ""), box.query(x, y) if box else "") if part]
    if not q or not others:
        return " and ".join([q] if q else others)
    typed = f"#{q} or {q}" if q.isdecimal() else q  # alone, a bare number is a feature's number or a word
    return " and ".join([f"({typed})", *others])


def _help(entry: Entry) -> None:
    with st.popover("How to search", width="stretch"):
        if presenter(entry).search_help:
            st.markdown(presenter(entry).search_help)
        st.markdown(
            'Words find features whose label holds them all, `"in quotes"` a phrase, `#412` or `412` a number.\n\n'
            "Compare statistics: `density < 0.01`, `max_activation >= 5`, `label_precision > 0.9`. "
            "Also `is:dead`, `is:dense`, `is:starred`.\n\n"
            "Join with `and`, `or`, `not` and brackets: `digit (density < 0.02 or is:starred)`.\n\n"
            "Columns: " + ", ".join(f"`{column}`" for column in STATISTICS) + "."
        )


def _selection() -> None:
    """A brush, or a click on a cell, becomes a region of the address; a click on a point waits for the next run."""
    state: Any = st.session_state.get(_SCATTER)
    selection = state["selection"] if state else {}
    boxes = selection.get("box") or []
    marks = [p["customdata"] for p in selection.get("points", []) if p.get("customdata")]
    if boxes:
        x, y = boxes[0]["x"], boxes[0]["y"]
        links.move(box=Box((min(x), max(x)), (min(y), max(y))).text(), page=None)
    elif marks and len(marks[0]) == 4:
        x0, x1, y0, y1 = marks[0]
        links.move(box=Box((x0, x1), (y0, y1)).text(), page=None)
    elif marks:
        st.session_state[_CLICKED] = int(marks[0][0])


def _scatter(entry: Entry, query: str, x: str, y: str, height: int) -> None:
    signed = reads.is_signed(entry)
    log = feature_scatter.log_axis(x, signed), feature_scatter.log_axis(y, signed)
    found = entry.scatter(x, y, query, log_x=log[0], log_y=log[1])
    if not found.total:
        panels.empty("No feature found has a place on both axes: dead ones have none.")
        return
    tokens = entry.first_tokens(found.points["feature_id"].to_numpy()) if found.points is not None else None
    st.plotly_chart(
        feature_scatter.figure(found, x, y, log, height=height, tokens=tokens),
        key=_SCATTER,
        config=charts.CONFIG,
        alt=f"{STATISTICS[y][0]} against {STATISTICS[x][0]} of the features found",
        on_select=_selection,
        selection_mode=["points", "box"],
    )
    clicked = st.session_state.pop(_CLICKED, None)
    if clicked is not None:
        links.go("feature", sae=entry.sae_id, feature=clicked)
    what = "Click a point to open it; drag a box to list what lies in it."
    if found.points is None:
        what = f"{count(found.total)} features, counted in cells. Click a cell or drag a box to list what lies in it."
    missing = f" {count(found.n_missing)} have no place on these axes (dead, or a missing value)."
    st.caption(what + (missing if found.n_missing else ""))


def _axes() -> tuple[str, str]:
    titles = {column: title for column, (title, _) in STATISTICS.items()}
    with st.container(horizontal=True):
        meaning = "; ".join(f"{title}: {definition}" for title, definition in STATISTICS.values())
        x = controls.choice("x axis", "x", titles, default="density", also_clear=("box",), help=meaning)
        y = controls.choice("y axis", "y", titles, default="max_activation", also_clear=("box",))
    return x, y


def _table(entry: Entry, query: str, height: int) -> None:
    usual = RELEVANCE if is_ranked(query) else "density"
    sort = links.text("sort", usual, [*STATISTICS, RELEVANCE])
    descending = links.text("order", "up" if sort in _ASCENDING else "down", ["up", "down"]) == "down"
    wanted = max(1, links.whole_number("page", 1))
    page = entry.features_page(query, sort=sort, descending=descending, page=wanted - 1, page_size=PAGE_SIZE)
    n_pages = max(1, -(-page.total // PAGE_SIZE))
    if wanted > n_pages:
        page = entry.features_page(query, sort=sort, descending=descending, page=n_pages - 1, page_size=PAGE_SIZE)
    if not page.total:
        panels.empty("No feature matches.", "Loosen the search or the filter.")
        return
    clicked = feature_table(
        entry,
        page.rows.to_pylist(),
        "features",
        sort=Sort(sort, descending),
        height=height,
        page=f"{entry.sae_id} {query} {sort} {descending} {min(wanted, n_pages)}",
    )
    if clicked:
        again = clicked == sort
        first = clicked not in _ASCENDING
        down = not descending if again else first
        links.move(
            sort=None if clicked == usual else clicked,
            order=None if down == first else ("down" if down else "up"),
            page=None,
        )
        st.rerun()
    left, right = st.columns([3, 4], vertical_alignment="center")
    best = ", best matches first" if sort == RELEVANCE and page.total > 1 else ""
    left.caption(f"{count(page.total)} of {count(entry.n_features)} features{best}")
    with right:
        controls.page_number("page", n_pages)


def render(store: FeatureStore) -> None:
    """Draw the page."""
    entry = links.current_entry(store)
    st.title("Features")
    st.caption(plain(sources.entry_line(entry)))
    typed, help, show = st.columns([5, 1.3, 3.6], vertical_alignment="bottom")
    with typed:
        q = controls.search(
            "Search",
            "q",
            placeholder=presenter(entry).search_example,
            also_clear=("page",),
        )
    with help:
        _help(entry)
    with show:
        shown = controls.choice("Show", "show", _SHOW, style="segmented", also_clear=("page",), show_label=False)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        x, y = _axes()
    box = Box.parse(links.text("box"))
    query = compose(q, shown, box, x, y)
    try:
        entry.features_page(compose(q, shown, None, x, y), page=0, page_size=1)
    except QueryError as error:
        panels.show(error)
        return
    with left:
        _scatter(entry, compose(q, shown, None, x, y), x, y, 560)
        if box:
            st.button(
                f"Region: {plain(box.words(x, y))}  ✕", on_click=links.move, kwargs={"box": None}, help="Show all again"
            )
    with right:
        _table(entry, query, 600)
