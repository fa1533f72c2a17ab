"""Addresses: reading a page's state from its URL, and going to another page or another state.

Parameters set here by the server are pushed onto the browser's history, so Back returns to the state before; edits of
widgets bound to a parameter replace the address instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import streamlit as st

from saescope.dashboard.components.history import go_to
from saescope.store.errors import UnknownEntry, UnknownFeature

_REGISTERED = "_saescope_pages"
_LAST = "_saescope_sae"

if TYPE_CHECKING:
    from saescope.store import Entry, FeatureStore


def register(pages: dict[str, Any]) -> None:
    """Tell this module the `st.Page` objects of the running session (the router does, on every run)."""
    st.session_state[_REGISTERED] = pages


def _registered(name: str) -> Any | None:
    pages: dict[str, Any] = st.session_state.get(_REGISTERED, {})
    return pages.get(name)


def _texts(parameters: dict[str, object]) -> dict[str, str]:
    """Parameters as the strings of a URL: None is left out, lists are joined by commas."""
    texts = {}
    for name, value in parameters.items():
        if value is None or value == "" or (isinstance(value, (list, tuple)) and not value):
            continue
        texts[name] = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return texts


def href(page: str, **parameters: object) -> str:
    """Address of `page` from the server's root, for an `<a href>`."""
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    root = f"/{base}/" if base else "/"
    query = urlencode(_texts(parameters), quote_via=quote, safe=",")
    return f"{root}{page}" + (f"?{query}" if query else "")


def page_link(label: str, page: str, *, help: str | None = None, **parameters: object) -> None:
    """Draw a link to `page` that stays in this session."""
    target = _registered(page)
    if target is None:
        st.markdown(f"[{label}]({href(page, **parameters)})", help=help)
    else:
        st.page_link(target, label=label, help=help, query_params=_texts(parameters))


def go(page: str, **parameters: object) -> None:
    """Leave for `page` now, ending this run. To another state of the same page use `move`."""
    go_to(href(page, **parameters))
    st.stop()


def move(**parameters: object) -> None:
    """Change parameters of the present page (None removes one), adding one entry to the browser's history.

    For use in a widget's callback; elsewhere follow it with `st.rerun()`.
    """
    texts = _texts(parameters)
    for name in parameters:
        if name not in texts and name in st.query_params:
            del st.query_params[name]
    changed = {name: text for name, text in texts.items() if st.query_params.get(name) != text}
    if changed:
        st.query_params.update(changed)


def text(name: str, default: str = "", choices: Sequence[str] | None = None) -> str:
    """Parameter `name`, or `default` where it is missing or none of `choices`."""
    value = st.query_params.get(name, default)
    return default if choices is not None and value not in choices else value


def listed(name: str) -> list[str]:
    """The comma-separated values of parameter `name`, without repeats."""
    return list(dict.fromkeys(part for part in st.query_params.get(name, "").split(",") if part))


def whole_number(name: str, default: int) -> int:
    """Parameter `name` as an integer, or `default` where it is missing or no integer."""
    try:
        return int(st.query_params.get(name, default))
    except ValueError:
        return default


def keep_sae(sae_id: str) -> None:
    """Remember `sae_id` for pages of this session whose address names no SAE."""
    st.session_state[_LAST] = sae_id


def current_sae_id(known: Sequence[str]) -> str | None:
    """The SAE that the address names (whether or not it is known), else the one last looked at, else the first."""
    named = st.query_params.get("sae")
    if named:
        return named
    last = st.session_state.get(_LAST)
    return last if last in known else (known[0] if known else None)


def current_entry(store: FeatureStore) -> Entry:
    """The entry of the page; raises `UnknownEntry` where the address names none, or the store is empty."""
    sae_id = current_sae_id(store.ids())
    if sae_id is None:
        raise UnknownEntry("this store holds no SAE yet", "add one with `saescope build` or `saescope sweep`")
    return store[sae_id]


def current_feature_id(entry: Entry) -> int:
    """`?feature=` as a feature of `entry` (0 where it is missing); raises `UnknownFeature`."""
    given = st.query_params.get("feature", "0")
    if not given.isascii() or not given.isdigit() or len(given) > 18 or int(given) >= entry.n_features:
        raise UnknownFeature(
            f"no feature {given[:40]!r} in {entry.sae_id}", f"its features are 0 to {entry.n_features - 1}"
        )
    return int(given)
