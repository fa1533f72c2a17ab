"""Page numbers that live in the address as `page` (from 1): each is a link, and Back returns to the one before."""

from __future__ import annotations

import streamlit as st

from saescope.dashboard import links

_WIDGET = "_saescope_page"


def current_page(n_pages: int) -> int:
    """The page that the address names, from 0: the first where it names none, the last where it names one beyond."""
    return min(max(links.whole_number("page", 1), 1), max(n_pages, 1)) - 1


def first_page() -> None:
    """Back to the first page: for callbacks of widgets that change what is listed."""
    links.move(page=None)


def _turned() -> None:
    page = st.session_state[_WIDGET]
    links.move(page=page if page > 1 else None)


def page_numbers(n_pages: int) -> None:
    """The row of page numbers; nothing where there is one page only."""
    if n_pages > 1:
        st.session_state[_WIDGET] = current_page(n_pages) + 1
        st.pagination(n_pages, key=_WIDGET, on_change=_turned)
