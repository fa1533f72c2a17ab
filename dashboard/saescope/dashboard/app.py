"""The dashboard's entry point: finds the store, draws the sidebar, and hands over to the page that the URL names.

Run by `saescope.dashboard.server`, which sets SAESCOPE_STORE, the theme and the server's flags. Everything here runs
again on every interaction, so it does next to nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import streamlit as st

from saescope.dashboard import navigation, panels, sidebar, theme
from saescope.dashboard.presentation.choice import presenters
from saescope.dashboard.server import STORE_VARIABLE
from saescope.dashboard.state import links, reads
from saescope.store import FeatureStore
from saescope.store.errors import OptionError, UserError


def open_store() -> FeatureStore:
    """The store that the server was started for; raises `UserError` where there is none."""
    path = os.environ.get(STORE_VARIABLE)
    if not path:
        raise OptionError("no store was named", f"start with `saescope serve --store DIR` or set {STORE_VARIABLE}")
    return reads.open_store(path)


def only(draw: Callable[[], None]) -> None:
    """An app of one page, whatever the address: for a store that cannot be opened."""
    addresses = ["home", *(spec.name for spec in navigation.PAGES)]
    pages = [st.Page(draw, title="saescope", url_path=name, default=name == "home") for name in addresses]
    st.navigation(pages, position="hidden").run()


def main() -> None:
    """One run of the app for one browser."""
    st.set_page_config(page_title="saescope", layout="wide", initial_sidebar_state="auto")
    theme.apply_style()
    presenters()  # before any entry is read: the kind of its source may be defined beside its presenter
    try:
        store = open_store()
    except UserError as error:
        trouble = error
        only(lambda: panels.show(trouble, way_back=False))
        return
    # The address without a page shows the home page, and the home page has an address of its own as well.
    specs = [("home", navigation.page(navigation.HOME)), *((spec.name, spec) for spec in navigation.PAGES)]
    pages = {
        name: st.Page(
            navigation.renderer(spec, store), title=f"{spec.title} · saescope", url_path=name, default=name == "home"
        )
        for name, spec in specs
    }
    links.register(pages)
    current = st.navigation(list(pages.values()), position="hidden")
    here = next(spec for name, spec in specs if pages[name].url_path == current.url_path)
    try:
        sidebar.draw(store, here)
    except Exception:
        logging.getLogger(__name__).exception("the sidebar failed")
        panels.failure("saescope")
        return
    current.run()


main()
