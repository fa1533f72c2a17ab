"""Library: which SAEs are here; width, L0, FVU, dead, dense, source, date; grouped by sweep."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.sae_table import OF_ONE_ARCHITECTURE, WITHOUT_SOURCE, sae_table
from saescope.dashboard.components.sparkline import Point, sparkline
from saescope.dashboard.components.table import MAX_ROWS
from saescope.dashboard.components.tradeoff import MAX_PICKED
from saescope.dashboard.formats import plain
from saescope.dashboard.metrics import value
from saescope.dashboard.presentation import sources
from saescope.dashboard.state import controls, links
from saescope.store.numbers import count

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

_FILTER_FROM = 13
"""From this many SAEs on, a filter box is worth its place."""


def _curves(entries: list[Entry]) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = defaultdict(list)
    for entry in entries:
        l0, fvu = value(entry.metrics, "l0"), value(entry.metrics, "fvu")
        if l0 is not None and fvu is not None:
            curves[entry.manifest.architecture].append((l0, fvu))
    return dict(curves)


def _sweep(title: str, entries: list[Entry], key: str) -> None:
    """The SAEs of one sweep: its name, architecture and source, its rows, its curve."""
    architectures = {entry.manifest.architecture for entry in entries}
    shared = architectures if len(architectures) == 1 else set()
    st.markdown(f"#### {plain(title)}")
    st.caption(plain(" · ".join([*shared, sources.line(entries[0])])))
    rows, picture = st.columns([4.6, 1.2], gap="medium", vertical_alignment="top")
    with picture:
        sparkline(_curves(entries))
        picked = [entry.sae_id for entry in entries][:MAX_PICKED]
        links.page_link("Compare in the chart", "sparsity", sae=entries[0].sae_id, picked=picked)
    with rows:
        sae_table(entries, key, columns=OF_ONE_ARCHITECTURE if shared else WITHOUT_SOURCE)


def render(store: FeatureStore) -> None:
    """Draw the page."""
    st.title("Library")
    entries, faults = store.readable()
    for fault in faults:
        panels.show(fault, way_back=False)
    if not entries and not faults:
        panels.panel(
            "This store holds no SAE yet",
            "An SAE is shown here once it has been built into the store.",
            "Try `saescope demo`, `saescope sweep` or `saescope build`.",
        )
        return
    if len(entries) >= _FILTER_FROM:
        wanted = controls.search("Filter", "find", placeholder="part of a name or architecture")
        words = wanted.lower().split()
        entries = [e for e in entries if all(w in f"{e.sae_id} {e.manifest.architecture}".lower() for w in words)]
        if not entries:
            panels.empty("No SAE has this in its name.")
            return
    if len(entries) > MAX_ROWS:
        st.caption(f"The first {count(MAX_ROWS)} of {count(len(entries))} SAEs; filter to see others.")
        entries = entries[:MAX_ROWS]
    shown = {entry.sae_id for entry in entries}
    groups: dict[Any, list[Entry]] = defaultdict(list)
    single: list[Entry] = []
    for sweep in store.sweeps():
        members = [entry for entry in sweep.entries if entry.sae_id in shown]
        (groups[sweep.name, sweep.source_key] if sweep.parameter else single).extend(members)
    for number, ((name, _), members) in enumerate(sorted(groups.items(), key=lambda group: str(group[0]))):
        if members:
            _sweep(name, members, f"sweep-{number}")
    if single:
        if groups:
            st.markdown("#### Single SAEs")
        sae_table(single, "single")
