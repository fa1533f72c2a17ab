"""Items corrupted to a level, and what a trained denoiser and classical ones make of them.

Address: `noise` (the level), `against` (the classical denoiser whose pictures are shown), `page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from saescope.dashboard import charts, panels, theme
from saescope.dashboard.components.picture_matrix import (
    Heading,
    MatrixCell,
    MatrixRow,
    Picture,
    Sheet,
    picture_matrix,
)
from saescope.dashboard.components.pictures import colour_sprite, image_pixels, signed_sprite, value_sprite
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.metadata import metadata_lines
from saescope.dashboard.state import controls, links
from saescope.store.numbers import count, significant

if TYPE_CHECKING:
    from saescope.store import Entry

MODEL, CORRUPTED, CURVE = "model", "corrupted", "+curve"
ROWS = 6
SIDE = 84
_CURVE_HELP = (
    "Clipped noise biases every filter, so each classical denoiser stands here as it is and followed by a tone curve; "
    "its parameters and its curve were chosen on training items."
)

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Score:
    """Of one method at one level; None where a mean is undefined."""

    method: str
    parameters: str
    psnr: float | None
    ssim: float | None
    n_items: int


def scores(entry: Entry) -> dict[float, dict[str, Score]]:
    """Level -> method -> its mean scores; empty where there are none."""
    found: dict[float, dict[str, Score]] = {}
    means = entry.denoising_metrics()
    for row in [] if means is None else means.to_pylist():
        score = Score(row["method"], row["parameters"], row["psnr"], row["ssim"], row["n_items"])
        found.setdefault(row["level"], {})[row["method"]] = score
    return found


def classical(methods: Sequence[str]) -> list[str]:
    """The classical denoisers among methods, each once."""
    names = (m.removesuffix(CURVE) for m in methods if m not in (MODEL, CORRUPTED))
    return list(dict.fromkeys(names))


def best_classical(at_level: Mapping[str, Score]) -> str | None:
    """The classical denoiser with the largest PSNR, with or without its curve."""
    rivals = [s for s in at_level.values() if s.method not in (MODEL, CORRUPTED) and s.psnr is not None]
    return max(rivals, key=lambda s: s.psnr or 0.0).method.removesuffix(CURVE) if rivals else None


def chosen_level(levels: Sequence[float], given: str) -> float:
    """The kept level nearest to the one that an address names; the middle one where it names none."""
    try:
        wanted = float(given)
    except ValueError:
        wanted = float("nan")
    if not np.isfinite(wanted):
        return levels[len(levels) // 2]
    return min(levels, key=lambda level: abs(level - wanted))


def show(entry: Entry) -> None:
    """Draw the slider, the scores at its level and over all levels, and the items."""
    levels, measured = entry.noise_levels(), scores(entry)
    level = _slider(entry, levels)
    at_level = measured.get(level, {})
    if measured:
        left, right = st.columns([2, 3], gap="medium")
        with left:
            _chart(measured, level)
        with right:
            _table(at_level)
    _items(entry, level, at_level)


def _slider(entry: Entry, levels: Sequence[float]) -> float:
    trained = (entry.manifest.config.get("training") or {}).get("config") or {}
    kind = str(trained.get("corruption") or "noise").replace("_", " ")
    level = chosen_level(levels, links.text("noise"))
    if len(levels) < 2:
        st.caption(plain(f"Corruption: {kind}, level {significant(level)}"))
        return level
    key = "_denoising_level"
    st.session_state[key] = level

    def moved() -> None:
        links.move(noise=f"{st.session_state[key]:g}")

    st.select_slider(
        f"Level of the corruption ({kind})",
        list(levels),
        format_func=lambda value: f"{value:g}",
        key=key,
        on_change=moved,
        help="in the training's units; 0 is the item as it is",
    )
    return level


# scores


def psnr_range(measured: Mapping[float, Mapping[str, Score]], methods: Sequence[str]) -> tuple[float, float] | None:
    """Of the chart: what a filter that leaves clean items alone reaches at level 0 would flatten all else: it is left
    out. None where nothing is left."""
    values = [
        scores[method].psnr
        for level, scores in measured.items()
        for method in methods
        if method in scores and (level > 0 or method == MODEL)
    ]
    known = [value for value in values if value is not None]
    if not known:
        return None
    pad = 0.08 * (max(known) - min(known)) or 1.0
    return min(known) - pad, max(known) + pad


def _chart(measured: Mapping[float, Mapping[str, Score]], level: float) -> None:
    """PSNR over the levels: the model, the corrupted item, and the best classical denoiser with its curve and not."""
    rival = best_classical(measured.get(level, {}))
    colours = {
        MODEL: theme.ACCENT[theme.scheme()],
        CORRUPTED: theme.DEAD[theme.scheme()],
        f"{rival}{CURVE}": theme.DENSE[theme.scheme()],
        str(rival): theme.DENSE[theme.scheme()],
    }
    traces: list[charts.Trace] = []
    for method, colour in colours.items():
        points = [(at, scores[method].psnr) for at, scores in sorted(measured.items()) if method in scores]
        points = [(at, psnr) for at, psnr in points if psnr is not None]
        if points:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": method.replace(CURVE, " + curve"),
                    "x": [at for at, _ in points],
                    "y": [psnr for _, psnr in points],
                    "line": {"color": colour, "width": 1.6, "dash": "dot" if method == str(rival) else "solid"},
                    "marker": {"size": 6, "color": colour},
                    "hovertemplate": "level %{x:g}<br>%{y:.2f} dB<extra>%{fullData.name}</extra>",
                }
            )
    chart = charts.figure(
        traces,
        charts.Axis("level of the corruption"),
        charts.Axis("PSNR (dB), mean over items", range=psnr_range(measured, list(colours))),
        height=270,
        legend=True,
        shapes=[charts.vertical_line(level, theme.MUTED[theme.scheme()])],
        margin={"l": 8, "r": 12, "t": 46, "b": 8, "pad": 0},
    )
    charts.show(chart, "_denoising_chart", alt="PSNR of the model and of classical denoisers over the noise levels")


def _table(at_level: Mapping[str, Score]) -> None:
    if not at_level:
        panels.empty("No scores were kept at this level.")
        return
    columns = [
        Column("method", "what was done to the corrupted items", "left"),
        Column("PSNR (dB)", "mean over the items, which no choice was made on"),
        Column("SSIM", "mean over the items"),
        Column("PSNR + curve", _CURVE_HELP),
        Column("SSIM + curve", _CURVE_HELP),
        Column("parameters", "chosen on training items", "left", grows=True),
    ]
    names = [m for m in (MODEL, CORRUPTED) if m in at_level]
    rivals = classical(list(at_level))

    def best(name: str) -> float:
        return max((at_level[m].psnr or 0.0 for m in (name, name + CURVE) if m in at_level), default=0.0)

    rows = [
        Row(
            (
                Cell("this model" if name == MODEL else name.replace("_", " ")),
                *_figures(at_level.get(name)),
                *_figures(at_level.get(name + CURVE)),
                Cell(at_level[name].parameters if name in at_level else "", muted=True),
            ),
            marked=name == MODEL,
        )
        for name in [*names, *sorted(rivals, key=best, reverse=True)]
    ]
    table(columns, rows, "denoising-scores")
    n_items = max(score.n_items for score in at_level.values())
    st.caption(f"Means over {count(n_items)} items, none of them trained on.")


def _figures(score: Score | None) -> tuple[Cell, Cell]:
    if score is None:
        return Cell("", muted=True), Cell("", muted=True)
    return (
        Cell("–" if score.psnr is None else f"{score.psnr:.2f}"),
        Cell("–" if score.ssim is None else f"{score.ssim:.3f}"),
    )


# items


def _items(entry: Entry, level: float, at_level: Mapping[str, Score]) -> None:
    ids = entry.denoised_item_ids()
    n_pages = max(1, -(-len(ids) // ROWS))
    page = min(max(links.whole_number("page", 1), 1), n_pages)
    chosen = ids[(page - 1) * ROWS : page * ROWS]
    rows = {i: {row["method"]: row for row in entry.denoised(i, level).to_pylist()} for i in chosen}
    rivals = classical(list(next(iter(rows.values()), {})))
    against = None
    if rivals:
        names = {name: name.replace("_", " ") for name in rivals}
        best = best_classical(at_level)
        with st.container(width=300):
            against = controls.choice(
                "Classical denoiser beside it", "against", names, default=best if best in rivals else None
            )
    methods = [m for m in (CORRUPTED, MODEL) if any(m in of for of in rows.values())]
    methods += [m for m in (against, f"{against}{CURVE}") if any(m in of for of in rows.values())] if against else []
    _matrix(entry, level, rows, methods)
    left, right = st.columns([1, 2], vertical_alignment="center")
    left.caption(f"{count(len(ids))} sampled items; below each picture its PSNR and SSIM")
    with right:
        controls.page_number("page", n_pages)


def _matrix(
    entry: Entry, level: float, rows: Mapping[int, Mapping[str, Mapping[str, Any]]], methods: Sequence[str]
) -> None:
    """An item a row: clean, corrupted, denoised and what is left, then a classical denoiser."""
    shown = presenter(entry)
    shape, (low, high) = shown.picture_shape, shown.value_range
    items = {row["item_id"]: row for row in entry.items(list(rows)).to_pylist()}
    if shape is None:
        panels.empty("The items of this source are no pictures.")
        return
    size = (shape.height, shape.width, shape.channels)
    scale = max(1, round(SIDE / max(size[:2])))
    pictures: dict[str, Floats] = {
        method: np.stack(
            [
                np.asarray(rows[i][method]["values"], float).reshape(size) if method in rows[i] else np.full(size, low)
                for i in rows
            ]
        )
        for method in methods
    }
    clean = np.stack([_clean(shown.picture(items.get(i, {})), shown, low, high) for i in rows])
    sheets = {"clean": Sheet(value_sprite(clean, low, high), scale)}
    sheets |= {m: Sheet(value_sprite(values, low, high), scale) for m, values in pictures.items()}
    columns = [Heading(""), Heading("clean", help="the item as it is: what should come out")]
    for method in methods:
        columns.append(_heading(method, level))
        if method == MODEL:
            residual, limit = clean - pictures[MODEL], (high - low) / 2
            sprite = (
                colour_sprite(residual, limit=limit)
                if shape.channels == 3
                else signed_sprite(residual[..., 0], limit=limit, scheme=theme.scheme())
            )
            sheets["residual"] = Sheet(sprite, scale)
            help = "clean - denoised: red where the clean item is brighter, blue where it is darker"
            columns.append(Heading("residual", [f"± {significant(limit)}"], help=help))
    matrix = []
    for tile, (item_id, of) in enumerate(rows.items()):
        cells = [MatrixCell([Picture("clean", tile, f"item {count(item_id)}, clean")])]
        best = max((row["psnr"] or 0.0 for row in of.values()), default=0.0)
        for method in methods:
            cells.append(_cell(method, tile, item_id, of.get(method), best))
            if method == MODEL:
                cells.append(MatrixCell([Picture("residual", tile, f"item {count(item_id)}, residual")]))
        lines = metadata_lines(items.get(item_id, {}))[:2]
        matrix.append(MatrixRow(Heading(f"item {count(item_id)}", lines), cells))
    picture_matrix(columns, matrix, sheets, key="_denoised_items", label=f"Items denoised from level {level:g}")


def _clean(image: bytes | None, shown: Any, low: float, high: float) -> Floats:
    shape = shown.picture_shape
    pixels = None if image is None else image_pixels(image, shape)
    if pixels is None:
        return np.full((shape.height, shape.width, shape.channels), low)
    scaled: Floats = low + pixels * (high - low)
    return scaled


def _heading(method: str, level: float) -> Heading:
    if method == CORRUPTED:
        return Heading("corrupted", [f"level {level:g}"], help="what every method was given")
    if method == MODEL:
        return Heading("denoised", ["this model"], help="what this model makes of it")
    if method.endswith(CURVE):
        return Heading(method.removesuffix(CURVE).replace("_", " "), ["with tone curve"], help=_CURVE_HELP)
    return Heading(method.replace("_", " "), ["as it is"], help=_CURVE_HELP)


def _cell(method: str, tile: int, item_id: int, row: Mapping[str, Any] | None, best: float) -> MatrixCell:
    if row is None:
        return MatrixCell(lines=["not kept"])
    psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.1f} dB"
    lines = [psnr] + ([] if row["ssim"] is None else [f"SSIM {row['ssim']:.3f}"])
    tip = f"item {count(item_id)}, {method.replace(CURVE, ' with tone curve')}\n" + "\n".join(lines)
    return MatrixCell([Picture(method, tile, tip)], lines, strong=row["psnr"] is not None and row["psnr"] >= best)
