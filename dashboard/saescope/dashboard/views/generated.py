"""Samples and traversals: what a variational autoencoder makes of codes that no item has.

Draws from the prior, the picture as one unit moves and the others stay, and the way from one item to another. Address:
`sae`, and `at`, where the units that do not move stay.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.picture_matrix import (
    Heading,
    MatrixCell,
    MatrixRow,
    Picture,
    Sheet,
    picture_matrix,
)
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.pictures import PictureShape, value_sprite
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import sources
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.rebuilding import rebuild
from saescope.dashboard.state import controls, links
from saescope.store.numbers import count, significant

if TYPE_CHECKING:
    import pyarrow as pa

    from saescope.store import Entry, FeatureStore

SIDE = 56
SAMPLE_SIDE = 64
_WHERE = {"traversal_mean": "at the mean code", "traversal_item": "at an item's code"}
"""Where the other units stay, by the store's kind."""


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry`."""
    entry = links.current_entry(store)
    st.title("Samples and traversals")
    st.caption(plain(sources.entry_line(entry)))
    if not entry.has_table("generated"):
        panels.empty(
            "Only variational autoencoders of images have a prior to draw pictures from.",
            "Train one: saescope train --arch variational",
        )
        return
    _numbers(entry)
    _samples(entry)
    _traversals(entry)
    _interpolations(entry)


def _numbers(entry: Entry) -> None:
    metrics = entry.metrics
    used, elbo = metrics.get("n_used"), metrics.get("elbo")
    words = (
        [] if used is None else [f"{count(int(used))} of {count(entry.n_features)} units are used (KL above 0.01 nats)"]
    )
    if elbo is not None:
        words.append(f"ELBO {significant(elbo)} nats per position")
    st.caption(plain(" · ".join(words)))


def _samples(entry: Entry) -> None:
    st.subheader("Samples")
    st.caption("decode(z) with z drawn from the prior N(0, I)")
    table = entry.generated("sample")
    sheet = _sheet(entry, table, SAMPLE_SIDE)
    tiles = [Tile(None, f"draw {i + 1}") for i in range(table.num_rows)]
    picture_tiles(tiles, sheet.sprite, key="_samples", label="Draws from the prior", scale=sheet.scale)


def _traversals(entry: Entry) -> None:
    st.subheader("Traversals")
    st.caption(
        "One unit takes seven values from -3 to 3 (the prior's standard deviation is 1), the others stay. Units "
        "with the largest KL come first."
    )
    kinds = {kind: table for kind in _WHERE if (table := entry.generated(kind)).num_rows}
    chosen = controls.choice("Others stay", "at", {k: _WHERE[k] for k in kinds}, style="segmented", show_label=False)
    table = kinds[chosen]
    latents = entry.latents()
    kl = {} if latents is None else dict(zip(latents["feature_id"].to_pylist(), latents["kl"].to_pylist(), strict=True))
    item = table["item_id"][0].as_py()
    if item is not None:
        st.caption(f"the code of item {count(item)}")
    values = list(dict.fromkeys(table["coordinate"].to_pylist()))
    columns = [Heading("unit", help="and its mean KL from the prior: how much of an input it tells")]
    columns += [Heading(f"{value:+g}" if value else "0") for value in values]
    rows = []
    for series, unit in dict(zip(table["series"].to_pylist(), table["feature_id"].to_pylist(), strict=True)).items():
        heading = Heading(
            f"#{unit}",
            [f"KL {significant(kl.get(unit))} nats"],
            href=links.href("feature", sae=entry.sae_id, feature=unit),
        )
        rows.append(MatrixRow(heading, _series(chosen, table, series, f"#{unit}")))
    sheets = {chosen: _sheet(entry, table, SIDE)}
    picture_matrix(columns, rows, sheets, key="_traversals", label="Pictures as one unit moves")


def _interpolations(entry: Entry) -> None:
    table = entry.generated("interpolation")
    if not table.num_rows:
        return
    st.subheader("Interpolations")
    st.caption("decode((1 - t) f + t g) for six t from 0 to 1; f and g are the codes of two items")
    ends = list(
        dict.fromkeys(zip(*(table[name].to_pylist() for name in ("series", "item_id", "other_item_id")), strict=True))
    )
    shown = {r.item_id: r.original for r in rebuild(entry, sorted({i for _, *pair in ends for i in pair}))}
    originals = [shown.get(i) for _, *pair in ends for i in pair]
    whole = all(picture is not None for picture in originals) and presenter(entry).picture_shape == _shape(entry)
    sheets = {"interpolation": _sheet(entry, table, SIDE)}
    if whole:
        low, high = _range(entry)
        stacked = np.stack([picture for picture in originals if picture is not None])
        sheets["items"] = Sheet(value_sprite(stacked, low, high), sheets["interpolation"].scale)
    given = [Heading("input")] if whole else []
    values = list(dict.fromkeys(table["coordinate"].to_pylist()))
    columns = [Heading("items"), *given, *(Heading(f"{value:g}") for value in values), *given]
    rows = []
    for at, (series, first, last) in enumerate(ends):
        inputs = [
            [MatrixCell([Picture("items", 2 * at + end, f"item {count(item)}")])] if whole else []
            for end, item in enumerate((first, last))
        ]
        cells = [*inputs[0], *_series("interpolation", table, series, "t ="), *inputs[1]]
        rows.append(MatrixRow(Heading(f"{count(first)} to {count(last)}"), cells))
    picture_matrix(columns, rows, sheets, key="_interpolations", label="Pictures on the way from one item to another")


def _series(kind: str, table: pa.Table, series: int, word: str) -> list[MatrixCell]:
    """A cell for each picture of one series, its rows being the tiles of the kind's sheet."""
    own = np.flatnonzero(table["series"].to_numpy() == series)
    at = table["coordinate"].to_numpy()
    return [MatrixCell([Picture(kind, int(i), f"{word} {significant(float(at[i]))}")]) for i in own]


def _sheet(entry: Entry, table: pa.Table, side: int) -> Sheet:
    """All pictures of a table as one sprite."""
    shape = _shape(entry)
    values = np.array(table["values"].to_pylist(), np.float32)
    values = values.reshape(-1, shape.height, shape.width, shape.channels)
    return Sheet(value_sprite(values, *_range(entry)), max(1, round(side / max(shape.height, shape.width))))


def _shape(entry: Entry) -> PictureShape:
    shape = presenter(entry).atom_shape
    assert shape is not None, "tables of generated pictures are written for pictures alone"
    return shape


def _range(entry: Entry) -> tuple[float, float]:
    low, high = presenter(entry).value_range
    return (low, high) if math.isfinite(low) and high > low else (0.0, 1.0)
