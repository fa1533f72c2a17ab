"""Leaving for another page from Python, with a browser's history as after a click on a link."""

from __future__ import annotations

import uuid

import streamlit as st

from saescope.dashboard.components import assets

_mount = st.components.v2.component("saescope_history", js=assets.text_of("browser/opening.js", "history/history.js"))


def go_to(href: str) -> None:
    """Make the browser go to `href`, an address of this app, inside the running session.

    `st.switch_page` with parameters would leave an entry in the history that holds the old page with the new
    parameters: Back would show a state that never was.
    """
    _mount(key="_saescope_history", data={"href": href, "turn": uuid.uuid4().hex})
