"""The dashboard's entry point: finds the store, draws the sidebar, and hands over to the page that the URL names.

Run by `saescope.dashboard.serve`, which sets SAESCOPE_STORE, the theme and the server's flags. Everything here runs
again on every interaction, so it does next to nothing.
"""

from __future__ import annotations

import os

import streamlit as st

from saescope.dashboard import links, navigation, panels, reads, sidebar, theme
from saescope.dashboard.serve import STORE_VARIABLE
from saescope.store.errors import UserError


def main() -> None:
    """One run of the app for one browser."""
    st.set_page_config(page_title="saescope", layout="wide", initial_sidebar_state="auto")
    theme.apply_style()
    try:
        path = os.environ.get(STORE_VARIABLE)
        if not path:
            raise UserError("no store was named", f"start with `saescope serve --store DIR` or set {STORE_VARIABLE}")
        store = reads.open_store(path)
        store.entries()
    except UserError:
        st.navigation([st.Page(lambda: panels.show(error, way_back=False), title="saescope", url_path="library")]).run()
        return
    pages = {
        spec.name: st.Page(
            navigation.renderer(spec, store),
            title=f"{spec.title} · saescope",
            url_path=spec.name,
            default=spec.name == navigation.HOME,
        )
        for spec in navigation.PAGES
    }
    links.register(pages)
    current = st.navigation(list(pages.values()), position="hidden")
    here = next(spec for spec in navigation.PAGES if pages[spec.name] is current or pages[spec.name] == current)
    sidebar.draw(store, here)
    current.run()


main()
