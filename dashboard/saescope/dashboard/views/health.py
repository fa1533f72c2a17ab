"""Health: dead, dense and near-duplicate features; how often features fire; the training's curves; all metrics.

Address: `cosine` (from which cosine on two atoms count as near-duplicates).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import streamlit as st

from saescope.dashboard import charts, panels, theme
from saescope.dashboard.components import pictures
from saescope.dashboard.components.feature_table import name
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import plain
from saescope.dashboard.metrics import METRICS, formula, metric
from saescope.dashboard.presentation import sources
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.state import controls, links, reads
from saescope.store.format.thresholds import DEAD_BOUND_FORMULA, DEAD_BOUND_LEVEL, DENSE_DENSITY, dead_bound
from saescope.store.numbers import count, dead, density, percent
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

MAX_PAIRS = 12
_COSINES = {"0.8": "≥ 0.8", "0.9": "≥ 0.9", "0.95": "≥ 0.95", "0.99": "≥ 0.99"}


def density_bins(densities: np.ndarray, n_positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Live features by tenths of a decade of density: edges [bins + 1] and counts [bins].

    A bin holds its upper edge, so that the bins above 0.1 hold exactly the dense features (density > 0.1).
    """
    first = math.floor(10 * math.log10(1.0 / max(n_positions, 1)) - 1e-9)
    edges = np.array([10.0 ** (k / 10) for k in range(first, 1)])
    places = np.searchsorted(edges, densities[densities > 0], side="left") - 1
    return edges, np.bincount(np.clip(places, 0, len(edges) - 2), minlength=len(edges) - 1)


def density_figure(densities: np.ndarray, n_positions: int, dense_code: bool = False) -> charts.Figure:
    """Histogram of density on a log axis, dead features as a bar of their own at the left.

    The dead bar stands left of 1/N, the smallest density that can be seen. In a `dense_code` dense features are none to
    be marked.
    """
    scheme = theme.scheme()
    edges, counts = density_bins(densities, n_positions)
    lowest = float(edges[0])
    n_dead = int((densities == 0).sum())
    dead_place = lowest / 10**0.45
    dense, grey = theme.DENSE[scheme], theme.DEAD[scheme]
    traces: list[charts.Trace] = [
        {
            "type": "bar",
            "x": ((edges[:-1] + edges[1:]) / 2).tolist(),
            "y": counts.tolist(),
            "width": np.diff(edges).tolist(),
            "marker": {
                "color": [
                    dense if low > DENSE_DENSITY * 0.999 and not dense_code else theme.ACCENT[scheme]
                    for low in edges[:-1]
                ],
                "line": {"width": 1, "color": theme.PAPER[scheme]},
            },
            "hovertext": [
                f"{count(int(c))} features<br>density {density(float(a))} to {density(float(b))}"
                for c, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
            ],
            "hoverinfo": "text",
        },
        {
            "type": "bar",
            "x": [dead_place],
            "y": [n_dead],
            "width": [dead_place * 0.5],
            "marker": {"color": grey, "line": {"width": 0}},
            "hovertext": [f"{count(n_dead)} dead features<br>each fired at {dead(n_positions)}"],
            "hoverinfo": "text",
        },
    ]
    tallest = max(int(counts.max(initial=0)), n_dead, 1)
    above = {"yref": "paper", "yanchor": "bottom"}
    return charts.figure(
        traces,
        charts.Axis("density (share of positions), log scale", log=True, range=(lowest / 10**0.8, 1.1), percent=True),
        charts.Axis("features", range=(0, tallest * 1.06)),
        height=280,
        shapes=[
            *([] if dense_code else [charts.vertical_line(DENSE_DENSITY, dense)]),
            charts.vertical_line(lowest / 10**0.1, grey),
        ],
        annotations=[
            *(
                []
                if dense_code
                else [charts.note("dense", np.log10(0.32), 1.0, font={"size": 11, "color": dense}, **above)]
            ),
            charts.note("dead", np.log10(dead_place), 1.0, font={"size": 11, "color": grey}, **above),
        ],
        barmode="overlay",
        margin={"l": 8, "r": 12, "t": 24, "b": 8, "pad": 0},
    )


def _counts(entry: Entry) -> None:
    n = entry.n_positions
    n_dead, n_dense = (int(entry.metrics.get(key) or 0) for key in ("n_dead", "n_dense"))
    row = st.container(horizontal=True, gap="large")
    row.metric("live features", f"{count(entry.n_features - n_dead)} of {count(entry.n_features)}")
    row.metric(
        "dead features",
        f"{count(n_dead)} ({percent(n_dead / entry.n_features)})",
        help=f"Fired at {plain(dead(n))}: with {percent(DEAD_BOUND_LEVEL)} confidence each one's density is below "
        f"{plain(percent(dead_bound(n)))}, if positions are independent. The bound is {DEAD_BOUND_FORMULA}.",
    )
    row.metric(
        "dense features",
        f"{count(n_dense)} ({percent(n_dense / entry.n_features)})",
        help=plain(formula([entry], "n_dense")),
    )
    recovered = entry.metrics.get("ce_recovered")
    if recovered is not None:
        row.metric(
            "cross-entropy recovered",
            METRICS["ce_recovered"].write(recovered),
            help=plain(formula([entry], "ce_recovered")),
        )
    row.metric("evaluated positions N", count(n), help="positions behind every statistic on this page")
    if n_dead:
        st.caption(plain(f"Dead: each fired at {dead(n)}. More positions would tell rare features from dead ones."))


def _density(entry: Entry) -> None:
    st.markdown("#### How often features fire", help="density = firing positions / evaluated positions, per feature")
    if entry.has_dense_code:
        forbidden = entry.manifest.constraint
        st.caption(
            plain(
                "This code is dense as a whole: nothing makes it sparse, so that features that fire at nearly every "
                "position are what is to be expected, and no fault."
                + (f" What its architecture forbids it is something else: {forbidden}." if forbidden else "")
            )
        )
    chart = density_figure(reads.densities(entry), entry.n_positions, entry.has_dense_code)
    st.plotly_chart(chart, key="densities", config=charts.CONFIG, alt="Histogram of the features' densities")
    states = ("dead",) if entry.has_dense_code else ("dead", "dense")
    listed = [show for show in states if entry.metrics.get(f"n_{show}")]
    if listed:
        with st.container(horizontal=True):
            for show in listed:
                links.page_link(f"List the {show} features", "features", sae=entry.sae_id, show=show)


def _pair_tiles(entry: Entry, pairs: list[tuple[int, int, float]]) -> None:
    """Each pair as two atoms beside each other, with their cosine; a click opens the feature."""
    shape = presenter(entry).atom_shape
    ids = [i for a, b, _ in pairs for i in (a, b)]
    atoms = reads.atoms(entry, tuple(ids))
    densities = reads.densities(entry)
    scheme = theme.scheme()
    scale = 1 if shape is None else shape.scale_for(50)
    across = 64 if shape is None else shape.width * scale
    row = st.container(horizontal=True, gap="small")
    for k, (first, second, cosine) in enumerate(pairs):
        two = atoms[2 * k : 2 * k + 2]
        if shape is not None:
            sprite = pictures.atom_sprite(two, shape, scheme=scheme)
        else:
            sprite = pictures.barcode_sprite(two, width=64, height=24, scheme=scheme)
        with row.container(width=2 * across + 12, gap=None):
            picture_tiles(
                [
                    Tile(i, f"{name(i)}\nfires at {density(float(densities[i]))} of positions", name(i))
                    for i in (first, second)
                ],
                sprite,
                key=f"pair-{first}-{second}",
                label=f"{name(first)} and {name(second)}, cosine {cosine:.3f}",
                scale=scale,
                href=links.href("feature", sae=entry.sae_id) + "&feature=",
            )
            st.caption(f"cosine {cosine:.3f}")


def _pair_rows(entry: Entry, pairs: list[tuple[int, int, float]]) -> None:
    """Each pair as a row with both labels; a click opens the first."""
    named = {i: entry.feature(i).label or "–" for a, b, _ in pairs for i in (a, b)}
    rows = [
        Row(
            (
                Cell(name(first)),
                Cell(visible(named[first])),
                Cell(name(second)),
                Cell(visible(named[second])),
                Cell(f"{cosine:.3f}"),
            ),
            href=links.href("feature", sae=entry.sae_id, feature=first),
        )
        for first, second, cosine in pairs
    ]
    columns = [Column(title, align="left", grows=title == "label") for title in ("feature", "label", "like", "label")]
    table([*columns, Column("cosine")], rows, "pairs")


def _near_duplicates(entry: Entry) -> None:
    st.markdown(
        "#### Near-duplicate features", help="pairs whose atoms point the same way: cosine of the decoder directions"
    )
    least = float(
        controls.choice("cosine at least", "cosine", _COSINES, default="0.9", style="segmented", show_label=False)
    )
    if not entry.has_table("neighbours"):
        panels.empty(
            "This entry holds no neighbours, so near-duplicates are not known."
            if entry.has_atoms
            else "The decoder is not linear: there are no atoms, hence no neighbours to compare."
        )
        return
    found = reads.near_duplicates(entry, least, MAX_PAIRS)
    if not found:
        panels.empty(f"No two atoms have a cosine of {least} or more.")
        return
    total = reads.n_near_duplicates(entry, least)
    st.caption(f"{count(total)} pairs; the {count(len(found))} closest:" if total > len(found) else f"{total} in all:")
    if presenter(entry).by_position:
        _pair_rows(entry, found)
    else:
        _pair_tiles(entry, found)


def curve_figure(steps: list[int], values: list[float | None], title: str) -> charts.Figure:
    """One logged metric over the training; a log axis where it spans more than a factor of 30."""
    known = [v for v in values if v is not None and np.isfinite(v)]
    log = bool(known) and min(known) > 0 and max(known) / min(known) > 30
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    limits = (low / 1.2, high * 1.2) if log else (low - pad, high + pad)
    trace: charts.Trace = {
        "type": "scatter", "mode": "lines", "x": steps, "y": values,
        "line": {"color": theme.ACCENT[theme.scheme()], "width": 1.5},
        "hovertemplate": "step %{x:,}<br>%{y:.4g}<extra></extra>",
    }  # fmt: skip
    return charts.figure(
        [trace], charts.Axis("step"), charts.Axis(f"{title}{', log scale' if log else ''}", log=log, range=limits),
        height=210,
    )  # fmt: skip


def _training(entry: Entry) -> None:
    st.markdown("#### Training")
    curve = entry.training_curve()
    if curve is None or curve.num_rows < 2:
        panels.empty("The checkpoint brought no training curve.")
        return
    steps = curve.column("step").to_pylist()
    numeric = [
        field.name
        for field in curve.schema
        if (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        and field.name not in ("step", "n_examples")
        and curve.column(field.name).null_count < curve.num_rows
    ]
    columns = st.columns(min(3, len(numeric)) if len(numeric) > 1 else 2)
    for k, column in enumerate(numeric):
        title = METRICS[column].short if column in METRICS else column.replace("_", " ")
        with columns[k % len(columns)]:
            chart = curve_figure(steps, curve.column(column).to_pylist(), title)
            st.plotly_chart(chart, key=f"training-{column}", config=charts.CONFIG, alt=f"{title} over training steps")
    examples = curve.column("n_examples").to_pylist()[-1]
    st.caption(f"{count(int(steps[-1]))} steps, {count(int(examples))} positions seen.")


def _metrics(entry: Entry) -> None:
    st.markdown("#### Metrics")
    rows = []
    for row in reads.table(entry, "metrics").to_pylist():
        known = metric(row["name"])
        written = known.write(row["value"]) if row["value"] is not None else "undefined"
        exact = "" if row["value"] is None else f"{row['value']:.10g}"
        cells = (
            Cell(row["name"]),
            Cell(written, help=exact),
            Cell(count(row["n_positions"])),
            Cell(row["formula"], muted=True),
        )
        rows.append(Row(cells))
    table(
        [
            Column("metric", "", "left"),
            Column("value"),
            Column("positions", "evaluated positions that it was computed over"),
            Column("formula", "", "left", grows=True),
        ],
        rows,
        "metrics",
    )


def render(store: FeatureStore) -> None:
    """Draw the page."""
    entry = links.current_entry(store)
    st.title("Health")
    st.caption(plain(sources.entry_line(entry)))
    _counts(entry)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _density(entry)
    with right:
        _near_duplicates(entry)
    _training(entry)
    _metrics(entry)
