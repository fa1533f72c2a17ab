"""Items beside their reconstructions and what in them is badly rebuilt: pictures, columns of tables, or dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components.pictures import PictureShape, atom_sprite, value_sprite
from saescope.dashboard.components.reconstruction_rows import Row as PictureRow
from saescope.dashboard.components.reconstruction_rows import Title, reconstruction_rows
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.presentation.metadata import about_lines
from saescope.store.format.source import PatchDescription, PixelDescription, SourceDescription, TableDescription
from saescope.store.numbers import count, significant
from saescope.store.token_text import visible

N_WORST = 3
"""Columns of a row that are listed."""
MOST_PICTURES = 12
_SIDE = 84
_COLUMNS = frozenset(
    {"kind", "rank", "score", "is_anomaly", "position", "input", "reconstruction", "contributions", "image"}
)

Example = Mapping[str, Any]


def show(described: SourceDescription, rows: Sequence[Example], *, key: str) -> None:
    """Draw examples of a report, in their order."""
    shape = _picture_shape(described, len(rows[0]["input"]))
    if shape is not None and len(rows[0]["reconstruction"]) == shape.size:
        _pictures(described, rows, shape, key)
    else:
        _worst(described, rows, key)


def _picture_shape(described: SourceDescription, size: int) -> PictureShape | None:
    """Of an input, where it is a picture."""
    if not isinstance(described, PixelDescription):
        return None
    height, width, channels = described.input_shape
    if isinstance(described, PatchDescription):
        height = width = described.patch
    if channels not in (1, 3) or math.prod((height, width, channels)) != size:
        return None
    return PictureShape(height, width, channels)


def _pictures(described: SourceDescription, rows: Sequence[Example], shape: PictureShape, key: str) -> None:
    rows = rows[:MOST_PICTURES]
    assert isinstance(described, PixelDescription)
    low, high = described.value_range
    stacked = {
        name: np.array([row[name] for row in rows], np.float64).reshape(-1, shape.height, shape.width, shape.channels)
        for name in ("input", "reconstruction")
    }
    residuals = np.array([row["reconstruction"] for row in rows]) - np.array([row["input"] for row in rows])
    reconstruction_rows(
        [
            PictureRow(f"item {count(row['item_id'])}", _lines(row)[1:], [f"score {significant(row['score'])}"], ())
            for row in rows
        ],
        (
            Title("item", "index of the item in the source's order, and what is known of it"),
            Title("input", "the picture"),
            Title("reconstruction", "what the autoencoder makes of it"),
            Title("residual", "reconstruction minus input; blue: too dark, red: too bright"),
            Title("score", "the detector's score"),
            Title("", ""),
        ),
        inputs=value_sprite(stacked["input"], low, high),
        reconstructions=value_sprite(stacked["reconstruction"], low, high),
        residuals=atom_sprite(residuals, shape, "diverging", scheme=theme.scheme()),
        atoms=None,
        scale=shape.scale_for(_SIDE),
        atom_scale=1,
        key=key,
        href="",
    )


def _worst(described: SourceDescription, rows: Sequence[Example], key: str) -> None:
    """Each item with the columns (or dimensions) that add most to its error."""
    names = described.dimensions if isinstance(described, TableDescription) else []
    lines = []
    for row in rows:
        parts = np.asarray(row["contributions"])
        worst = np.argsort(-parts, kind="stable")[:N_WORST]
        total = float(parts.sum()) or 1.0
        cells = [
            Cell(
                f"{_name(names, int(j))}: {_value(described, row['input'], int(j))}, rebuilt as "
                f"{_value(described, row['reconstruction'], int(j))}",
                help=f"{parts[j] / total:.0%} of the error",
                bar=float(np.clip(parts[j] / total, 0, 1)),
            )
            for j in worst
        ]
        cells += [Cell("")] * (N_WORST - len(cells))
        said = "" if row["is_anomaly"] is None else ("anomaly" if row["is_anomaly"] else "normal")
        label = row.get("label")
        lines.append(
            Row(
                (
                    Cell(count(row["item_id"]), help="\n".join(_lines(row))),
                    Cell(significant(row["score"])),
                    Cell(visible(str(label)) if label is not None else "–", help=said),
                    *cells,
                )
            )
        )
    if any(row["position"] for row in rows):
        st.caption("Of each item the position with the largest error.")
    table(
        [
            Column("item", "index of the item in the source's order"),
            Column("score", "the detector's score"),
            Column("label", "what the data says of it", "left"),
            *(
                Column("worst rebuilt" if i == 0 else "", "bars: share of the item's error", "left")
                for i in range(N_WORST)
            ),
        ],
        lines,
        key,
    )


def _lines(row: Example) -> list[str]:
    label = {"label": row["label"]} if row.get("label") is not None else {}
    kept = {name: value for name, value in row.items() if name not in _COLUMNS and name in ("item_id", "file", "page")}
    return about_lines({**kept, **label})


def _name(names: Sequence[str], j: int) -> str:
    return visible(names[j]) if j < len(names) else f"dimension {j}"


def _value(described: SourceDescription, values: Sequence[float], j: int) -> str:
    """A value in the table's own units where the dimension is a column of numbers."""
    value = float(values[j]) if j < len(values) else float("nan")
    if isinstance(described, TableDescription):
        place = 0
        for column in described.columns:
            if place == j and column.kind == "number":
                value = column.centre + column.scale * value
            place += len(column.dimensions)
    return significant(value) if math.isfinite(value) else "–"
