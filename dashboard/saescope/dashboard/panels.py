"""What a reader sees in place of a page, or of a part of it, when something is wrong: one calm panel, one way on."""

from __future__ import annotations

import streamlit as st

from saescope.dashboard.formats import plain
from saescope.dashboard.state import links
from saescope.store.errors import QueryError, StoreError, UnknownEntry, UnknownFeature, UnknownItem, UserError


def _title(error: UserError) -> str:
    if isinstance(error, UnknownEntry):
        return "No such SAE here"
    if isinstance(error, UnknownFeature):
        return "No such feature"
    if isinstance(error, UnknownItem):
        return "No such item"
    if isinstance(error, QueryError):
        return "This query was not understood"
    if isinstance(error, StoreError):
        return "This store cannot be read"
    return "That did not work"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def panel(title: str, message: str, hint: str | None = None) -> None:
    """A bordered box with a title, what is the matter, and what to try."""
    with st.container(border=True, key=f"panel-{abs(hash((title, message)))}"):
        st.markdown(f"**{plain(title)}**")
        st.markdown(plain(_sentence(message)))
        if hint:
            st.caption(plain(_sentence(hint)))


def show(error: UserError, *, way_back: bool = True) -> None:
    """The panel for a user's mistake, followed by links that work."""
    panel(_title(error), error.message, error.hint)
    if not way_back or isinstance(error, QueryError):
        return
    if isinstance(error, UnknownFeature) and "sae" in st.query_params:
        links.page_link("All features of this SAE", "features", sae=st.query_params["sae"])
    links.page_link("Back to the library", "library")


def failure(title: str) -> None:
    """The panel for a failure of our own; the details are in the server's log."""
    panel(
        "This page failed",
        f"An unexpected error stopped the page {title}; the server's log has the details.",
        "Load it again; if it fails again, please report what the log says.",
    )
    links.page_link("Back to the library", "library")


def empty(message: str, hint: str | None = None) -> None:
    """A quiet line where there is nothing to show."""
    st.caption(plain(message) + (f" {plain(hint)}" if hint else ""))
