"""One feature: numbers, histogram, examples by activation interval, atom, neighbours, co-firing, labels.

Address: `sae`, `feature`, `tab` ('top', or an interval counted from 1 = strongest), for texts `context` ('whole' shows
examples with their whole context). Everything is in the same place
for every feature, so that the eye need not search when the next one loads.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.activation_histogram import activation_histogram, bars, interval_names
from saescope.dashboard.components.picture_tiles import Tile, picture_tiles
from saescope.dashboard.components.table import Cell, Column, Row, table
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import atoms
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.presenter import written
from saescope.dashboard.state import controls, links
from saescope.store.errors import UserError
from saescope.store.format.thresholds import DEAD_BOUND_FORMULA, DEAD_BOUND_LEVEL
from saescope.store.numbers import count, dead, density, percent, short_count, significant
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore
    from saescope.store.records import Feature

ATOM_SIDE = 168
EFFECT_SIDE = 112
EFFECTS_WIDTH = 3 * EFFECT_SIDE + 20
CHIP_SIDE = 32
N_CHIPS = 12
CONTEXTS = {"near": "near", "whole": "whole context"}
_TROUBLE = "_feature_trouble"
_BOUND = f"one-sided, {percent(DEAD_BOUND_LEVEL)}, for independent positions: {DEAD_BOUND_FORMULA}"

STYLE = """
<style>
.st-key-feature-title { gap: 0 !important; }
.st-key-feature-title h3 { padding: 0 !important; line-height: 1.35; }
.st-key-feature-title h3, .st-key-feature-title p { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.st-key-feature-title [data-testid="stMarkdownContainer"], .st-key-feature-title p { margin: 0 !important; }
@media (max-width: 640px) { .st-key-feature-overview { flex-direction: column; } }
.st-key-feature-tools input { text-align: center; }
.feature-numbers { display: flex; flex-wrap: wrap; gap: 2px 26px; margin: 0 !important; padding: 0 !important; }
.feature-numbers dt { font-size: 0.82rem; opacity: 0.75; white-space: nowrap; cursor: help; }
.feature-numbers dd { margin: 0; font-size: 1.08rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
</style>
"""


def render(store: FeatureStore) -> None:
    """Draw the page. Raises `UnknownEntry` or `UnknownFeature` for an address that names none."""
    entry = links.current_entry(store)
    feature = entry.feature(links.current_feature_id(entry))
    st.html(STYLE)
    _header(entry, feature)
    trouble = st.session_state.pop(_TROUBLE, None)
    if trouble is not None:
        panels.show(trouble, way_back=False)
    _overview(entry, feature)
    _examples(entry, feature)
    _relatives(entry, feature)


def tabs(feature: Feature) -> list[str]:
    """What the examples' tabs are called in the address: 'top', then '1' for the strongest interval, ..."""
    return ["top", *(str(i + 1) for i in range(len(feature.interval_lower)))]


# the title row


def _open(feature_id: int) -> None:
    links.move(feature=feature_id)


def _open_typed() -> None:
    links.move(feature=st.session_state["_feature_number"])


def _header(entry: Entry, feature: Feature) -> None:
    i, last = feature.feature_id, entry.n_features - 1
    title, tools = st.columns([1, 1], vertical_alignment="center", gap="small")
    with title, st.container(key="feature-title", gap=None):
        st.markdown(f"### \\#{i:04d} &nbsp;{_title(feature)}")
        st.caption(_about_label(feature))
    with (
        tools,
        st.container(
            key="feature-tools", horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"
        ),
    ):
        _annotate(entry, feature)
        st.button("prev", key="_feature_prev", on_click=_open, args=(i - 1,), disabled=i == 0, shortcut="left")
        st.session_state["_feature_number"] = i
        st.number_input(
            f"feature, 0 to {last}",
            min_value=0,
            max_value=last,
            step=1,
            format="%d",
            key="_feature_number",
            on_change=_open_typed,
            label_visibility="collapsed",
            width=104,
        )
        st.button("next", key="_feature_next", on_click=_open, args=(i + 1,), disabled=i == last, shortcut="right")


def _title(feature: Feature) -> str:
    if feature.user_label:
        return plain(feature.user_label)
    if feature.auto_label:
        return plain(visible(feature.auto_label))
    return ":gray[dead]" if feature.is_dead else ":gray[no label]"


def _about_label(feature: Feature) -> str:
    """Where the label comes from, and how well the automatic one fits."""
    if feature.auto_label is None:
        if feature.user_label:
            return "labelled by hand"
        return "no automatic label: too few firings, or no lift over chance"
    fit = (
        f"{percent(feature.label_precision)} of firings (precision), {percent(feature.label_recall)} of all such "
        f"positions (recall), base rate {percent(feature.label_base_rate)}"
    )
    if feature.user_label:
        return f"labelled by hand; automatic: {plain(visible(feature.auto_label))}, {fit}"
    return f"automatic: {fit}"


def _annotate(entry: Entry, feature: Feature) -> None:
    """The star and the label's editor. What cannot be kept (a store on a read-only disk) is told, not lost silently."""
    i = feature.feature_id

    def keep(change: Callable[[], None]) -> None:
        try:
            change()
        except UserError as error:
            st.session_state[_TROUBLE] = error

    st.button(
        "Starred" if feature.is_starred else "Star",
        key="_feature_star",
        icon=":material/star:",
        type="primary" if feature.is_starred else "secondary",
        on_click=lambda: keep(lambda: entry.star(i, not feature.is_starred)),
    )
    with st.popover("Label", icon=":material/edit:"):
        name = f"_label_{entry.sae_id}_{i}"
        with st.form(f"{name}_form", border=False):
            st.text_input("your label", value=feature.user_label or "", key=name, max_chars=200)
            st.caption("Shown in place of the automatic label, to everybody who uses this store. Empty takes it away.")
            st.form_submit_button("Save", on_click=lambda: keep(lambda: entry.label(i, st.session_state[name])))


# numbers and histogram


def _overview(entry: Entry, feature: Feature) -> None:
    shown = presenter(entry)
    if shown.by_position:
        st.html(_numbers(entry, feature))
        if not shown.has_lists:
            _histogram(entry, feature, height=130)
            return
        left, right = st.columns([2, 3], gap="medium")
        with left:
            _histogram(entry, feature, height=188)
        with right:
            shown.show_lists(feature.feature_id, feature.n_firing, key="_feature_tokens")
        return
    look = atoms.look(entry)
    is_effect = look is not None and look.word == "effect"
    with st.container(key="feature-overview", horizontal=True, gap="medium"):
        left, right = st.container(width=(EFFECTS_WIDTH if is_effect else ATOM_SIDE) + 6), st.container()
    with left:
        if look is None:
            panels.empty("This decoder is not linear: its features have no atoms.")
        elif is_effect:
            atoms.show_effects(entry, feature.feature_id, EFFECT_SIDE, key="_feature_effects")
        else:
            picture_tiles(
                [Tile(None, f"atom of feature {feature.feature_id}\nnorm {significant(feature.decoder_norm)}")],
                atoms.sprite(entry, [feature.feature_id]),
                key="_feature_atom",
                label="Atom",
                scale=look.scale(ATOM_SIDE),
            )
    with right:
        st.html(_numbers(entry, feature))
        _histogram(entry, feature, height=130)


def _histogram(entry: Entry, feature: Feature, height: int) -> None:
    activation_histogram(
        bars(feature.hist_counts, entry.manifest.histogram_edges),
        key="_feature_histogram",
        borders=feature.interval_lower,
        names=interval_names(feature.interval_lower, feature.max_activation, significant),
        chosen=_chosen_interval(feature),
        axis="|activation|"
        if (feature.mean_activation or 0) < 0 or (feature.max_activation or 0) < 0
        else "activation",
        empty=f"Never fired: {dead(entry.n_positions)}. It may still fire on other data.",
        height=height,
        on_open=lambda interval: links.move(tab=interval + 1),
    )


def _numbers(entry: Entry, feature: Feature) -> str:
    """The row of numbers, each with its definition as a tooltip. Only our own formats go in, never text from data."""
    n = entry.n_positions
    spread = "" if feature.std_activation is None else f" ± {significant(feature.std_activation, 2)}"
    rows = [
        (
            "density",
            dead(n) if feature.is_dead else density(feature.density),
            f"firing positions / evaluated positions: {feature.n_firing:,} of {n:,}"
            + (f"; the bound is {_BOUND}" if feature.is_dead else ""),
        ),
        ("max", written(feature.max_activation), "the activation with the largest magnitude"),
        ("mean ± std", f"{written(feature.mean_activation)}{spread}", "over the positions where the feature fires"),
        (
            "decoder norm",
            significant(feature.decoder_norm),
            "Euclidean length of the atom, in raw units per unit activation",
        ),
        (
            "rank by density",
            f"{feature.density_rank:,} / {feature.n_features:,}",
            "1 = fires most often; equal counts share a rank",
        ),
        (
            "rank by max",
            "–" if feature.max_rank is None else f"{feature.max_rank:,}",
            "1 = the largest maximum of all features",
        ),
    ]
    cells = "".join(
        f'<div title="{escape(help)}"><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
        for name, value, help in rows
    )
    return f'<dl class="feature-numbers">{cells}</dl>'


# examples


def _chosen_interval(feature: Feature) -> int | None:
    tab = links.text("tab", "top", tabs(feature))
    return None if tab == "top" else int(tab) - 1


def _pick_tab() -> None:
    links.move(tab=st.session_state["_feature_tab"])


def _examples(entry: Entry, feature: Feature) -> None:
    if feature.is_dead:
        with st.container(key="feature-examples", height=presenter(entry).room + 46, border=False):
            panels.empty(
                f"No examples: the feature fired at none of the {count(entry.n_positions)} evaluated positions.",
                f"The upper bound on its density is one-sided, at {percent(DEAD_BOUND_LEVEL)}, and assumes independent "
                "positions.",
            )
        return
    names = interval_names(feature.interval_lower, feature.max_activation, significant)
    titles = {"top": "Top"} | {
        str(i + 1): f"{name} ({short_count(n)})"
        for i, (name, n) in enumerate(zip(names, feature.interval_counts, strict=True))
    }
    chosen = _chosen_interval(feature)
    st.session_state["_feature_tab"] = "top" if chosen is None else str(chosen + 1)
    whole = False
    with st.container(horizontal=True, horizontal_alignment="distribute", gap="small"):
        st.segmented_control(
            "examples by activation interval (number of firings)",
            list(titles),
            format_func=titles.__getitem__,
            key="_feature_tab",
            on_change=_pick_tab,
            required=True,
            label_visibility="collapsed",
        )
        if presenter(entry).has_contexts:
            whole = controls.choice("context", "context", CONTEXTS, style="segmented", show_label=False) == "whole"
    if chosen is None:
        shown = entry.examples(feature.feature_id, "top")
    else:
        shown = entry.examples(feature.feature_id, "interval", chosen)
    presenter(entry).show_examples(
        shown, key="_feature_examples", strongest=abs(feature.max_activation or 0.0), whole=whole
    )


# other features


def _relatives(entry: Entry, feature: Feature) -> None:
    near, with_it = st.columns(2, gap="medium")
    neighbours = entry.neighbours(feature.feature_id)[:N_CHIPS]
    with near:
        st.caption("Near it", help="atoms with the largest cosine to this one")
        _chips(
            entry,
            "neighbours",
            [(n.neighbour_id, n.auto_label, f"{n.cosine:.2f}", f"cosine {n.cosine:.3f}") for n in neighbours],
        )
    both = entry.coactivations(feature.feature_id)[:N_CHIPS]
    with with_it:
        if entry.has_dense_code:
            st.caption("Fires with", help="Jaccard index: positions where both fire / positions where either fires")
            panels.empty("Every unit of this code fires nearly everywhere, so that it tells nothing.")
            return
        st.caption("Fires with", help="Jaccard index: positions where both fire / positions where either fires")
        _chips(
            entry,
            "co-firing features",
            [
                (
                    c.other_id,
                    c.auto_label,
                    significant(c.jaccard, 2),
                    f"Jaccard {c.jaccard:.3f}\nboth fire at {count(c.n_both)} positions",
                )
                for c in both
            ],
        )


def _chips(entry: Entry, name: str, chips: list[tuple[int, str | None, str, str]]) -> None:
    """Small atoms with a number each: (feature, label, number, tooltip)."""
    if not chips:
        panels.empty("none")
        return
    if presenter(entry).by_position:
        _rows(entry, name, chips)
        return
    look = atoms.look(entry)
    if look is None:
        for other, label, number, _ in chips:
            links.page_link(f"#{other} {plain(label or '')} {number}", "feature", sae=entry.sae_id, feature=other)
        return
    picture_tiles(
        [Tile(other, f"#{other} {label or ''}\n{tip}", number) for other, label, number, tip in chips],
        atoms.sprite(entry, [chip[0] for chip in chips]),
        key=f"_feature_{name}",
        label=name,
        layout="chips",
        scale=look.scale(CHIP_SIDE),
        href=links.href("feature", sae=entry.sae_id) + "&feature=",
        on_open=_open,
    )


def _rows(entry: Entry, name: str, others: list[tuple[int, str | None, str, str]]) -> None:
    """Features in words, for atoms that are no pictures: number, label, number that ties it to this one."""
    rows = [
        Row(
            (
                Cell(f"#{other:04d}"),
                Cell(visible(label or "") or "–", muted=not label, help=tip),
                Cell(number, help=tip),
            ),
            href=links.href("feature", sae=entry.sae_id, feature=other),
        )
        for other, label, number, tip in others
    ]
    columns = (
        Column("feature", align="left"),
        Column("label", align="left", grows=True),
        Column("cosine" if name == "neighbours" else "Jaccard"),
    )
    table(columns, rows, f"_feature_{name}")
