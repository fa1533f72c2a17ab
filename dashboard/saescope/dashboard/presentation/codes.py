"""What fires at each position of one text or picture: an item of the store, or what a reader typed or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from saescope.dashboard import panels
from saescope.dashboard.components.position_codes import Code, position_codes
from saescope.dashboard.formats import plain
from saescope.dashboard.presentation import atoms
from saescope.dashboard.presentation.choice import presenter
from saescope.dashboard.presentation.labels import labels
from saescope.dashboard.presentation.metadata import about_lines
from saescope.dashboard.state import controls, links, reads
from saescope.store.errors import UnknownItem
from saescope.store.numbers import count
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore

ATOM_SIDE = 22
_ORDERS = {"activation": "by activation", "share": "by share of its largest"}
_ORDER_HELP = (
    "Strongest first, by the activation itself or by its share of the feature's largest activation in the store. Point "
    "at a place to see its features, at a feature to see its places; click a place to stay there."
)


def names(store: FeatureStore, entry: Entry, feature_ids: Sequence[int]) -> dict[int, str]:
    """What features are called on one line: their label, else the top token."""
    named = {i: visible(label) for i, label in labels(store, entry, feature_ids).items()}
    missing = [i for i in feature_ids if i not in named]
    tokens = entry.first_tokens(missing) if missing else {}
    return named | {i: f"top token {visible(token, edges=True)}" for i, token in tokens.items()}


def show_codes(
    store: FeatureStore,
    entry: Entry,
    stage: Mapping[str, Any],
    codes: Sequence[Code],
    *,
    key: str,
    evaluated: Sequence[bool] | None = None,
    at: int | None = None,
    feature: int | None = None,
) -> None:
    """Draw a stage with its codes, and the choice of their order."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        order = controls.choice("Order", "by", _ORDERS, style="segmented", help=_ORDER_HELP, show_label=False)
        st.caption("Point at a place for its features, at a feature for its places; a click stays.", width="content")
    ids = sorted({int(i) for code in codes for i in code.feature_ids} | ({feature} if feature is not None else set()))
    strongest = reads.strongest(entry)
    look = atoms.look(entry)
    pictured = look is not None and look.shape is not None
    position_codes(
        stage,
        codes,
        key=key,
        labels=names(store, entry, ids),
        strongest={i: float(strongest[i]) for i in ids},
        href=links.href("feature", sae=entry.sae_id) + "&feature=",
        evaluated=evaluated,
        at=at,
        feature=feature,
        relative=order == "share",
        atoms=(lambda chosen: atoms.sprite(entry, chosen)) if pictured else None,
        atom_scale=look.scale(ATOM_SIDE) if look is not None else 1,
    )


def show_item(store: FeatureStore, entry: Entry, item_id: int, feature: int | None) -> None:
    """One item with the code of each position, as far as the store keeps it; `feature` colours it.

    Raises `UnknownItem` where the store does not keep the item.
    """
    rows = entry.items([item_id]).to_pylist()
    if not rows:
        raise UnknownItem(
            f"{entry.sae_id} does not keep item {item_id}", "it keeps its sample and the items of its examples"
        )
    item = rows[0]
    st.markdown(f"#### Item {count(item_id)}")
    st.caption(plain(" · ".join(about_lines(item)[1:])))
    stage = presenter(entry).stage(item)
    if stage is None:
        panels.empty("The positions of this item have no place that could be shown.")
        return
    kept = {code.position: Code.of(code.feature_ids, code.activations) for code in entry.item_codes(item_id)}
    codes = [kept.get(position, Code.of([], [])) for position in range(_n_positions(stage))] if kept else []
    evaluated = [position in kept for position in range(len(codes))] if kept else None
    at = None
    if not codes:
        panels.empty(
            f"Item {count(item_id)} is an example of a feature, not one of the sampled items: of its codes, only "
            + ("the feature that led here is kept." if feature is not None else "its examples' are kept.")
        )
        codes, at = _of_examples(entry, item_id, feature)
    elif feature is not None:
        at = max(range(len(codes)), key=lambda p: _activation(codes[p], feature))
    if codes:
        show_codes(store, entry, stage, codes, key="_item_codes", evaluated=evaluated, at=at, feature=feature)


def _n_positions(stage: Mapping[str, Any]) -> int:
    """Positions of a stage."""
    if stage["kind"] == "picture":
        return len(stage["names"])
    return max((stop for _, _, stop in stage["pieces"]), default=0)


def _activation(code: Code, feature: int) -> float:
    """|activation| of a feature in a code."""
    return max(
        (abs(float(v)) for i, v in zip(code.feature_ids, code.activations, strict=True) if i == feature), default=0
    )


def _of_examples(entry: Entry, item_id: int, feature: int | None) -> tuple[list[Code], int | None]:
    """The codes of an item as far as a feature's example holds them, and the example's position."""
    if feature is None:
        return [], None
    example = next((e for e in entry.examples(feature) if e.item_id == item_id), None)
    if example is None:
        return [], None
    values = example.window_activations or [example.activation]
    start = example.window_start if example.window_activations else example.position
    codes = [Code.of([], [])] * (start or 0)
    codes += [Code.of([feature] if value else [], [value] if value else []) for value in values]
    return codes, example.position
