"""The sidebar: which store, which SAE, which page. The same on every page, in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from saescope.dashboard import links
from saescope.dashboard.formats import count, plain
from saescope.dashboard.navigation import PAGES, PageSpec

_PICKER = "_saescope_picker"

if TYPE_CHECKING:
    from saescope.store import FeatureStore


def _picked() -> None:
    """Another SAE was chosen: the address names it, and what belonged to the old one goes."""
    links.move(sae=st.session_state[_PICKER], feature=None)


def draw(store: FeatureStore, here: PageSpec) -> None:
    """Draw the sidebar of page `here` and make sure that the address names the SAE it shows."""
    entries = store.entries()
    known = [entry.sae_id for entry in entries]
    sae_id = links.current_sae_id(store)
    st.session_state[_PICKER] = sae_id if sae_id in known else None
    if sae_id in known:
        links.keep_sae(sae_id)
        if here.per_sae:
            links.move(sae=sae_id)
    with st.sidebar:
        n_features = sum(entry.n_features for entry in entries)
        st.markdown(f"**{plain(store.name)}**  \n:gray[{count(len(known))} SAEs · {count(n_features)} features]")
        for spec in PAGES:
            links.page_link(spec.title, spec.name, help=spec.summary, sae=sae_id)
        if known:
            st.selectbox(
                "SAE",
                known,
                index=None,
                key=_PICKER,
                on_change=_picked,
                placeholder="Pick an SAE",
            )
