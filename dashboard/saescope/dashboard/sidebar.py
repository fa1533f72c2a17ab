"""The sidebar: which store, which SAE, which page. The same on every page, in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from saescope.dashboard.formats import plain
from saescope.dashboard.navigation import PAGES, PageSpec
from saescope.dashboard.state import links
from saescope.store.numbers import count

if TYPE_CHECKING:
    from saescope.store import FeatureStore

_PICKER = "_saescope_picker"


def _picked() -> None:
    """Another SAE was chosen: the address names it, and what belonged to the old one goes."""
    links.move(sae=st.session_state[_PICKER], feature=None, page=None)


def draw(store: FeatureStore, here: PageSpec) -> None:
    """Draw the sidebar of page `here` and make sure that the address names the SAE it shows."""
    entries, _ = store.readable()
    known = [entry.sae_id for entry in entries]
    sae_id = links.current_sae_id(known)
    st.session_state[_PICKER] = sae_id if sae_id in known else None
    if sae_id is not None and sae_id in known:
        links.keep_sae(sae_id)
        if here.per_sae:
            links.move(sae=sae_id)
    with st.sidebar:
        n_features = sum(entry.n_features for entry in entries)
        st.markdown(
            f"**{plain(store.paths.root.resolve().name)}**  \n:gray[{_many(len(known), 'SAE')} · "
            f"{_many(n_features, 'feature')}]",
            help=plain(str(store.paths.root.resolve())),
        )
        if known:
            st.selectbox("SAE", known, key=_PICKER, on_change=_picked, placeholder="pick an SAE")
        for spec in PAGES:
            links.page_link(spec.title, spec.name, help=spec.summary, sae=sae_id if sae_id in known else None)


def _many(number: int, what: str) -> str:
    return f"{count(number)} {what}" + ("" if number == 1 else "s")
