"""Decoder atoms as a grid of pictures, sorted and filtered; a click opens the feature.

Address: `sae`, `query` (the search language), `show` (all, live, dead, dense), `sort`, `colour`, `size`, `page`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import streamlit as st

from saescope.dashboard import links, panels
from saescope.dashboard.components.paging import current_page, first_page, page_numbers
from saescope.dashboard.components.picture_tiles import Tile, Tone, picture_tiles
from saescope.dashboard.exhibits import atoms
from saescope.dashboard.exhibits.similarity import chained_order, spread_order
from saescope.dashboard.formats import count, density, significant
from saescope.store.errors import QueryError

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

PAGE_SIZES = {"small": 1000, "medium": 512, "large": 128}
SIDES = {"small": 32, "medium": 60, "large": 120}


# name in the address and on the page -> (column of table features, descending); 'similar' is made here
ORDERS: dict[str, tuple[str, bool]] = {
    "density": ("density", True),
    "max": ("max_activation", True),
    "norm": ("decoder_norm", True),
    "label": ("label", False),
    "similar": ("", False),
    "id": ("feature_id", False),
}
COLUMNS = ["feature_id", "label", "density", "max_activation", "is_dead", "is_dense"]
MOST_SIMILAR = 65_536
"""The order 'similar' is offered up to this many features: it is made here, from all of them."""
SHOWN = {"all": "", "live": "is:live", "dead": "is:dead", "dense": "is:dense"}


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry`."""
    entry = links.current_entry(store)
    st.markdown("## Atoms")
    look = atoms.look(entry)
    if look is None:
        panels.empty(
            "The decoder of this SAE is not linear: its features have no atoms.", "The page Features lists them."
        )
        return
    query, order, mode, size = _controls(look, entry.n_features)
    try:
        page, total = _features(store, entry, query, order, PAGE_SIZES[size])
    except QueryError as error:
        panels.show(error)
        return
    if look.shape is None:
        panels.empty("The output of this SAE is no picture: each atom is drawn as a strip, one bar per dimension.")
    if not total:
        panels.empty("No feature matches.", "Change the search or show all features.")
        return
    _grid(entry, page, look, mode, size)
    _pages(total, PAGE_SIZES[size])


def _controls(look: atoms.AtomLook, n_features: int) -> tuple[str, str, Any, str]:
    """The row above the grid: search, which features, order, colouring, size."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input(
            "search",
            key="query",
            bind="query-params",
            placeholder="digit 7, density > 0.01",
            help='Words of labels, a "quoted phrase", #12, comparisons such as density > 0.01 and max_activation >= 5, '
            "is:dead, starred; joined by and, or, not and parentheses.",
            on_change=first_page,
            width=230,
        )
        kind = st.segmented_control(
            "show", list(SHOWN), default="all", key="show", bind="query-params", required=True, on_change=first_page
        )
        order = st.selectbox(
            "order",
            [name for name in ORDERS if name != "similar" or n_features <= MOST_SIMILAR],
            key="sort",
            bind="query-params",
            help="density, max (activation) and norm (of the atom): largest first; label: A to Z; similar: a walk from "
            "each atom to its nearest neighbour not yet shown",
            on_change=first_page,
            width=130,
        )
        mode = st.segmented_control(
            "colour",
            list(look.modes),
            default=look.modes[0],
            key="colour",
            bind="query-params",
            required=True,
            help="diverging: blue below zero, red above, each atom on its own symmetric scale; grey: black to white "
            "around mid-grey; colour: around mid-grey",
        )
        size = st.segmented_control(
            "size",
            list(SIDES),
            default="medium",
            key="size",
            bind="query-params",
            required=True,
            on_change=first_page,
        )
    parts = [f"({text.strip()})" if text.strip() else "", SHOWN[kind]]
    return " and ".join(part for part in parts if part), order, mode, size


# which features


def _features(store: FeatureStore, entry: Entry, query: str, order: str, size: int) -> tuple[list[dict[str, Any]], int]:
    """The page's rows of table `features` (as far as the tiles show them) and how many match. Raises `QueryError`."""
    column, descending = ORDERS[order]
    if column:
        asked = current_page(n_pages=entry.n_features)
        found = entry.features_page(query, sort=column, descending=descending, page=asked, page_size=size)
        page = current_page(found.n_pages)
        if page != asked:
            found = entry.features_page(query, sort=column, descending=descending, page=page, page_size=size)
        return _rows(found.rows), found.total
    matching = _matching(entry.sae_id, entry.version, query, store.annotations.revision(), entry)
    everything = _similar(entry.sae_id, entry.version, entry)
    ids = matching["feature_id"].to_numpy()
    page = current_page(-(-len(ids) // size))
    walk = everything[np.isin(everything, ids)][page * size : (page + 1) * size]
    return _rows(matching.take(np.searchsorted(ids, walk))), len(ids)


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.select(COLUMNS).to_pylist()
    return rows


@st.cache_data(show_spinner=False, max_entries=16)
def _matching(sae_id: str, version: str, query: str, revision: int, _entry: Any) -> pa.Table:
    """The `COLUMNS` of all features that match, by id. `revision` of the annotations: queries see labels and stars."""
    parts: list[pa.Table] = []
    size = 1000
    while not parts or len(parts[-1]) == size:
        found = _entry.features_page(query, sort="feature_id", descending=False, page=len(parts), page_size=size)
        parts.append(found.rows.select(COLUMNS))
    return pa.concat_tables(parts).combine_chunks()


@st.cache_data(show_spinner=False, max_entries=8)
def _similar(sae_id: str, version: str, _entry: Any) -> np.ndarray:
    """All features, similar atoms side by side."""
    start = spread_order(_entry.atoms())
    neighbours = np.full((_entry.n_features, 0), -1, dtype=np.int64)
    if _entry.has_table("neighbours"):
        table = _entry.table("neighbours", ["feature_id", "rank", "neighbour_id"])
        feature, rank, other = (table[name].to_numpy() for name in ("feature_id", "rank", "neighbour_id"))
        neighbours = np.full((_entry.n_features, int(rank.max(initial=-1)) + 1), -1, dtype=np.int64)
        neighbours[feature, rank] = other
    return chained_order(neighbours, start)


# the grid


def _grid(entry: Entry, rows: list[dict[str, Any]], look: atoms.AtomLook, mode: Any, size: str) -> None:
    ids = [int(row["feature_id"]) for row in rows]
    opened = picture_tiles(
        [_tile(row) for row in rows],
        atoms.sprite(entry, ids, mode),
        key="_atoms_grid",
        label="Atoms",
        layout="grid",
        scale=look.scale(SIDES[size]),
        href=links.href("feature", sae=entry.sae_id) + "&feature=",
    )
    if opened is not None:
        links.go("feature", sae=entry.sae_id, feature=opened)


def _tile(row: dict[str, Any]) -> Tile:
    tone: Tone = "dead" if row["is_dead"] else "dense" if row["is_dense"] else ""
    state = "dead: never fired" if row["is_dead"] else f"density {density(row['density'])}"
    lines = [f"#{row['feature_id']} {row['label'] or ''}".strip(), state]
    if not row["is_dead"]:
        lines.append(f"max {significant(row['max_activation'])}")
    return Tile(int(row["feature_id"]), "\n".join(lines), tone=tone)


def _pages(total: int, size: int) -> None:
    n_pages = -(-total // size)
    with st.container(horizontal=True, vertical_alignment="center"):
        page_numbers(n_pages)
        st.caption(f"{count(total)} features" + (f", {count(size)} on a page" if n_pages > 1 else ""))
