"""Sparsity vs. reconstruction: the curve of each sweep with baselines, and how the atoms change along it.

Address: `on` (which source), `x`, `y` (metrics), `baselines` (which are drawn), `click` (what a click on a point does),
`picked` (SAEs), `order`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import streamlit as st

from saescope.dashboard import charts, panels
from saescope.dashboard.components import tradeoff
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.sae_table import BRIEF, sae_table
from saescope.dashboard.components.tradeoff import MAX_PICKED
from saescope.dashboard.formats import plain
from saescope.dashboard.metrics import METRICS, Metric, formula, value
from saescope.dashboard.presentation import atoms, effects, sources
from saescope.dashboard.state import controls, links, reads
from saescope.store.numbers import count, density, significant

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore
    from saescope.store.read.reader import Sweep

N_ATOMS = 24
_CHART = "_saescope_tradeoff"
_ABOUT = (
    "Classical methods on the same data, dashed: what an SAE should beat. OMP and LARS code a learned dictionary; PCA "
    "and NMF keep as many components at every position; k-means mixes the k nearest centres; ICA, random directions "
    "and neurons keep the k of largest magnitude."
)
_X = ("l0", "fraction_active", "l1")
_Y = ("fvu", "mse", "fvu_transformed", "ce_lost", "kl")
BASELINES = {
    "pca": "PCA", "omp": "OMP", "lars": "LARS", "nmf": "NMF", "ica": "ICA", "kmeans": "k-means",
    "random": "random directions", "neurons": "neurons",
}  # fmt: skip
"""Titles of the classical methods, in their order on the page."""
_ORDERS = {
    "density": "most often firing",
    "max": "strongest",
    "same": "same feature numbers in each",
}


def _curves(sweeps: Sequence[Sweep], x: Metric, y: Metric) -> list[tradeoff.Curve]:
    names = [sweep.name for sweep in sweeps]
    curves = []
    for sweep in sweeps:
        points = []
        for entry in sweep.entries:
            across, up = value(entry.metrics, x.name), value(entry.metrics, y.name)
            if across and up and across > 0 and up > 0:
                points.append(tradeoff.Point(entry.sae_id, across, up, entry.n_features, entry.metrics))
        if points:
            alone = len(set(names)) == 1 and sweep.parameter is not None
            title = sweep.architecture if alone else sweep.name
            if not alone and names.count(sweep.name) > 1:
                title = f"{sweep.name} {sweep.architecture}"
            curves.append(tradeoff.Curve(title, sweep.architecture, sorted(points, key=lambda p: p.x)))
    return curves


def _references(sweeps: Sequence[Sweep], x: Metric, y: Metric) -> dict[str, tradeoff.Reference]:
    """Baselines by name where they mean the same as the axes: L0, or its share of equal widths. Of two dictionaries of
    one method, fitted beside sweeps of different widths, the larger counts."""
    widths = {e.n_features for sweep in sweeps for e in sweep.entries if sweep.architecture not in BASELINES}
    if x.name not in ("l0", "fraction_active") or (x.name == "fraction_active" and len(widths) != 1):
        return {}
    scale = 1.0 if x.name == "l0" else 1.0 / widths.pop()
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for sweep in sweeps:
        table = sweep.baselines()
        if not isinstance(table, pa.Table) or y.name not in table.column_names:
            continue
        for row in table.to_pylist():
            key = (row["name"], row["n_components"])
            drawable = row["l0"] and row[y.name] and row["l0"] > 0 and row[y.name] > 0
            if drawable and _n_atoms(row) >= _n_atoms(kept.get(key, {})):
                kept[key] = row
    points: dict[str, list[tuple[float, float, str]]] = {}
    for (name, _), row in kept.items():
        points.setdefault(name, []).append((row["l0"] * scale, row[y.name], _told(row)))
    names = [*(name for name in BASELINES if name in points), *sorted(set(points) - set(BASELINES))]
    return {name: tradeoff.Reference(BASELINES.get(name, name), name, sorted(points[name])) for name in names}


def _n_atoms(row: Mapping[str, Any]) -> int:
    return int(row.get("n_atoms") or 0)


def _told(row: Mapping[str, Any]) -> str:
    """What a baseline's point stands for."""
    used, atoms = row["n_components"], _n_atoms(row)
    parts = [f"{count(used)} components" if atoms in (0, used) else f"{count(used)} of {count(atoms)} atoms"]
    if row.get("seconds") is not None:
        parts.append(f"fitted in {significant(row['seconds'])} s")
    return ", ".join(parts) + (f"<br>{escape(row['note'])}" if row.get("note") else "")


def _clicked() -> list[str]:
    """The SAEs of the points that were clicked or brushed in the chart just now."""
    state: Any = st.session_state.get(_CHART)
    points = state["selection"]["points"] if state else []
    found = [point["customdata"][0] for point in points if point.get("customdata")]
    return list(dict.fromkeys(found))


def _toggle() -> None:
    """A click picks a point, or drops it if it was picked."""
    picked = links.listed("picked")
    for sae_id in _clicked():
        picked = [p for p in picked if p != sae_id] if sae_id in picked else [*picked, sae_id]
    links.move(picked=picked[-MAX_PICKED:])


def _chart(curves: list[tradeoff.Curve], references: list[tradeoff.Reference], x: Metric, y: Metric) -> None:
    picked = links.listed("picked")
    chart = tradeoff.figure(curves, references, x, y, picked)
    alt = f"{y.title} against {x.title}, log scales: " + ", ".join(
        f"{curve.title} ({len(curve.points)} entries)" for curve in curves
    )
    opens = links.text("click", "opens", ["opens", "picks"]) == "opens"
    st.plotly_chart(
        chart,
        key=_CHART,
        config=charts.CONFIG,
        alt=alt,
        on_select="rerun" if opens else _toggle,
        selection_mode=["points"],
    )
    clicked = _clicked()
    if opens and clicked:
        links.go("features", sae=clicked[0])


def _atom_ids(entries: list[Entry], order: str) -> list[list[int]]:
    """Features to show for each SAE: by its own order, or the first one's most frequent in all of them."""
    if order == "same":
        first = reads.leading_features(entries[0], "density", N_ATOMS)
        return [[i for i in first if i < entry.n_features] for entry in entries]
    sort = "density" if order == "density" else "max_activation"
    return [reads.leading_features(entry, sort, N_ATOMS) for entry in entries]


def _atoms(entries: list[Entry]) -> None:
    """The atoms of each picked SAE side by side, sparsest first; effects where the decoder is not linear."""
    looks = {entry.sae_id: atoms.look(entry) for entry in entries}
    drawable = [(entry, look) for entry in entries if (look := looks[entry.sae_id]) is not None and look.shape]
    if not drawable:
        panels.empty(
            "The atoms of these SAEs are no pictures."
            if any(looks.values())
            else "The decoders of these SAEs are not linear: their features have no atoms."
        )
        return
    head, pick = st.columns([3, 1.2], vertical_alignment="bottom")
    words = "Decoder directions in input space: blue is negative, red positive, each scaled to its own maximum."
    explained = [effects.explanation(entry, "mean") for entry, look in drawable if look.word == "effect"]
    if explained:
        words += f" Where the decoder is not linear, effects at the mean code: {explained[0]}."
    head.markdown("#### Atoms as sparsity changes", help=plain(words))
    with pick:
        order = controls.choice("Which atoms", "order", _ORDERS, show_label=False)
    orders = _atom_ids([entry for entry, _ in drawable], order)
    for (entry, look), column, ids in zip(drawable, st.columns(len(drawable)), orders, strict=True):
        with column:
            links.page_link(entry.sae_id, "features", sae=entry.sae_id)
            metrics = entry.metrics
            numbers = f"L0 {significant(value(metrics, 'l0'))} · FVU {significant(value(metrics, 'fvu'))}"
            st.caption(numbers if look.word == "atom" else f"{numbers} · effects at the mean code")
            densities = reads.densities(entry)
            picture_tiles(
                [
                    Tile(
                        i,
                        f"#{i:04d}\nfires at {density(densities[i])} of positions",
                        tone="dead" if densities[i] == 0 else "",
                    )
                    for i in ids
                ],
                atoms.sprite(entry, ids),
                key=f"atoms-{entry.sae_id}",
                label=f"{look.word.capitalize()}s of {entry.sae_id}",
                scale=look.scale(44),
                href=links.href("feature", sae=entry.sae_id) + "&feature=",
            )


def _default_picks(curves: list[tradeoff.Curve]) -> list[str]:
    """Without picks: up to four of the longest curve, spread over its sparsities."""
    longest = max(curves, key=lambda curve: len(curve.points)).points
    n = min(4, len(longest))
    places = sorted({round(i * (len(longest) - 1) / max(1, n - 1)) for i in range(n)})
    return [longest[i].sae_id for i in places]


def _source_choice(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """The sweeps on one source: errors on different data do not compare."""
    groups: dict[tuple[Any, ...], list[Sweep]] = {}
    for sweep in sweeps:
        groups.setdefault(sweep.source_key, []).append(sweep)
    ordered = sorted(groups.values(), key=lambda group: (-len(group), group[0].name))
    if len(ordered) == 1:
        st.caption(plain(sources.line(ordered[0][0].entries[0])))
        return ordered[0]
    named = links.listed("picked") or [links.text("sae")]
    default = next((i for i, g in enumerate(ordered) if any(e.sae_id in named for s in g for e in s.entries)), 0)
    options = {group[0].name: sources.line(group[0].entries[0]) for group in ordered}
    picked = controls.choice(
        "Source", "on", options, default=ordered[default][0].name, also_clear=("picked",), show_label=False
    )
    return next(group for group in ordered if group[0].name == picked)


def _metric_choice(label: str, name: str, offered: Sequence[str], entries: Sequence[Entry]) -> Metric:
    titles = {metric: METRICS[metric].short for metric in offered}
    meaning = "; ".join(f"{METRICS[metric].short}: {formula(entries, metric)}" for metric in offered)
    return METRICS[controls.choice(label, name, titles, style="segmented", help=plain(meaning))]


def render(store: FeatureStore) -> None:
    """Draw the page."""
    st.title("Sparsity vs. reconstruction")
    sweeps = store.sweeps()
    if not sweeps:
        panels.empty("This store holds no SAE yet.")
        return
    here = _source_choice(sweeps)
    entries = {entry.sae_id: entry for sweep in here for entry in sweep.entries}
    offered_y = [name for name in _Y if any(value(e.metrics, name) is not None for e in entries.values())] or ["fvu"]
    offered_x = [name for name in _X if any(value(e.metrics, name) is not None for e in entries.values())] or ["l0"]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        across, up, click = st.columns([3, max(3, 1 + len(offered_y)), 3])
        with across:
            x = _metric_choice("Sparsity (x)", "x", offered_x, list(entries.values()))
        with up:
            y = _metric_choice("Error (y)", "y", offered_y, list(entries.values()))
        with click:
            controls.choice(
                "A click on a point", "click", {"opens": "opens it", "picks": "picks it"}, style="segmented"
            )
        curves = _curves(here, x, y)
        if curves:
            references = _references(here, x, y)
            titles = {name: reference.title for name, reference in references.items()}
            shown_references = (
                controls.toggles("Baselines", "baselines", titles, help=_ABOUT) if len(titles) > 1 else titles
            )
            _chart(curves, [references[name] for name in shown_references], x, y)
        else:
            panels.empty(f"No SAE here has both {x.short} and {y.short} above zero, as log axes need.")
            return
    with right:
        picked = controls.several(
            f"Picked SAEs (up to {MAX_PICKED})",
            "picked",
            list(entries),
            most=MAX_PICKED,
            placeholder="none: a spread is shown",
        )
        unknown = [name for name in links.listed("picked") if name not in entries]
        if unknown:
            st.caption(plain(f"Not on this source, or not in this store: {', '.join(unknown)[:200]}"))
        shown = picked or _default_picks(curves)
        ordered = sorted((entries[s] for s in shown), key=lambda e: value(e.metrics, x.name) or 0.0)
        sae_table(ordered, "picked-rows", columns=BRIEF)
        st.caption(
            f"{count(sum(len(c.points) for c in curves))} entries in {count(len(curves))} curves. The grey band "
            "is the Pareto front: no other entry is both sparser and closer."
        )
    _atoms(ordered)
