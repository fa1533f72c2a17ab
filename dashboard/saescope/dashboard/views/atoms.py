"""Decoder atoms as a grid of pictures, sorted and filtered; a click opens the feature. Where the decoder is not linear,
the effects of its units.

Address: `sae`, `q` (the store's query language), `show`, `sort`, `colour`, `size`, `page`; `effect` for the kind of
effects ('mean', 'item' or 'jacobian').
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.picture_tiles import Tile, Tone, picture_tiles
from saescope.dashboard.components.pictures import AtomMode
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import atoms, effects, sources
from saescope.dashboard.presentation.similarity import chained_order, spread_order
from saescope.dashboard.state import controls, links
from saescope.dashboard.views.features import compose
from saescope.store.errors import QueryError
from saescope.store.numbers import count, density, significant

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

SEARCH_HELP = (
    'Words of labels, a "quoted phrase", #12, comparisons such as density > 0.01 and max_activation >= 5, is:dead; '
    "joined by and, or, not and brackets."
)
ORDER_HELP = (
    "Density, max activation and decoder norm: largest first; label: A to Z; similar side by side: a walk from each "
    "atom to its nearest neighbour not yet shown."
)
LEGEND = {
    "diverging": ":blue[below zero], :red[above zero], scaled per atom",
    "grey": "black below zero, white above, scaled per atom",
    "colour": "zero is mid-grey, scaled per atom",
}
PAGE_SIZES = {"small": 1000, "medium": 512, "large": 128}
SIDES = {"small": 32, "medium": 60, "large": 120}


ORDERS = {
    "density": "density",
    "max_activation": "max activation",
    "decoder_norm": "decoder norm",
    "label": "label",
    "similar": "similar side by side",
    "feature_id": "feature number",
}
_ASCENDING = {"label", "feature_id"}
COLUMNS = ["feature_id", "label", "density", "max_activation", "is_dead", "is_dense"]
MOST_SIMILAR = 65_536
"""The order 'similar' is offered up to this many features: it is made here, from all of them."""
SHOW = {name: name for name in ("all", "live", "dead", "dense", "starred")}


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry`."""
    entry = links.current_entry(store)
    look = atoms.look(entry)
    are_effects = look is not None and look.word == "effect"
    st.title("Effects" if are_effects else "Atoms")
    st.caption(plain(sources.entry_line(entry)))
    if look is None:
        panels.empty(
            "The decoder of this SAE is not linear: its features have no atoms.", "The page Features lists them."
        )
        return
    effect = _effect(entry) if are_effects else "mean"
    query, order, mode, size = _controls(look, entry.n_features)
    try:
        page, total = _features(store, entry, query, order, PAGE_SIZES[size])
    except QueryError as error:
        panels.show(error)
        return
    if look.shape is None:
        panels.empty(f"The output of this SAE is no picture: each {look.word} is drawn as a strip of bars, in order.")
    if not total:
        panels.empty("No feature matches.", "Change the search or show all features.")
        return
    _grid(entry, page, look, mode, size, effect)
    _pages(total, PAGE_SIZES[size])


def _effect(entry: Entry) -> str:
    """The choice of the kind of effects, and what is shown in words."""
    places = {kind: about.place for kind, about in effects.KINDS.items()}
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kind = controls.choice("Effect", "effect", places, style="segmented", show_label=False)
    st.caption(
        plain(f"The decoder is not linear, so these are no atoms but effects: {effects.explanation(entry, kind)}.")
    )
    return kind


def _controls(look: atoms.AtomLook, n_features: int) -> tuple[str, str, AtomMode, str]:
    """The row above the grid: search and filter (as one query), order, colouring, size."""
    page = ("page",)
    search, sort = st.columns([5, 2], vertical_alignment="bottom", gap="small")
    with search:
        q = controls.search("Search", "q", placeholder="digit 7, density > 0.01", help=SEARCH_HELP, also_clear=page)
    with sort:
        orders = {name: title for name, title in ORDERS.items() if name != "similar" or n_features <= MOST_SIMILAR}
        if look.word == "effect":  # both are of atoms
            orders = {name: title for name, title in orders.items() if name not in ("similar", "decoder_norm")}
        order = controls.choice("Order", "sort", orders, help=ORDER_HELP, also_clear=page)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        shown = controls.choice("Show", "show", SHOW, style="segmented", also_clear=page, show_label=False)
        modes = {str(mode): str(mode) for mode in look.modes}
        mode = look.modes[0]
        if len(modes) > 1:
            mode = cast(AtomMode, controls.choice("Colour", "colour", modes, style="segmented", show_label=False))
        sizes = {name: name for name in SIDES}
        chosen = controls.choice(
            "Size", "size", sizes, style="segmented", default="medium", also_clear=page, show_label=False
        )
        st.caption(LEGEND[mode].replace("atom", look.word), width="content")
    return compose(q, shown, None, "", ""), order, mode, chosen


# which features


def _features(store: FeatureStore, entry: Entry, query: str, order: str, size: int) -> tuple[list[dict[str, Any]], int]:
    """The page's rows of table `features` (as far as the tiles show them) and how many match. Raises `QueryError`."""
    page = max(1, links.whole_number("page", 1)) - 1
    if order != "similar":
        found = entry.features_page(query, order, order not in _ASCENDING, page, size)
        if page >= found.n_pages:
            found = entry.features_page(query, order, order not in _ASCENDING, found.n_pages - 1, size)
        return _rows(found.rows), found.total
    matching = _matching(entry.sae_id, entry.version, query, store.annotations.revision(), entry)
    everything = _similar(entry.sae_id, entry.version, entry)
    ids = matching["feature_id"].to_numpy()
    start = min(page, max(0, -(-len(ids) // size) - 1)) * size
    walk = everything[np.isin(everything, ids)][start : start + size]
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


def _grid(entry: Entry, rows: list[dict[str, Any]], look: atoms.AtomLook, mode: Any, size: str, effect: str) -> None:
    ids = [int(row["feature_id"]) for row in rows]
    picture_tiles(
        [_tile(row, entry.has_dense_code) for row in rows],
        atoms.sprite(entry, ids, mode, effect),
        key="_atoms_grid",
        label="Effects" if look.word == "effect" else "Atoms",
        layout="grid",
        scale=look.scale(SIDES[size]),
        href=links.href("feature", sae=entry.sae_id) + "&feature=",
    )


def _tile(row: dict[str, Any], dense_code: bool) -> Tile:
    tone: Tone = "dead" if row["is_dead"] else "dense" if row["is_dense"] and not dense_code else ""
    state = "dead: never fired" if row["is_dead"] else f"density {density(row['density'])}"
    lines = [f"#{row['feature_id']} {row['label'] or ''}".strip(), state]
    if not row["is_dead"]:
        lines.append(f"max {significant(row['max_activation'])}")
    return Tile(int(row["feature_id"]), "\n".join(lines), tone=tone)


def _pages(total: int, size: int) -> None:
    n_pages = -(-total // size)
    left, right = st.columns([1, 2], vertical_alignment="center")
    left.caption(f"{count(total)} features" + (f", {count(size)} on a page" if n_pages > 1 else ""))
    with right:
        controls.page_number("page", n_pages)
