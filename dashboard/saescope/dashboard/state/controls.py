"""Widgets whose value lives in the address: what is picked, typed or paged is in the URL, and Back undoes it.

Streamlit's own binding writes labels into the URL and leaves the history alone; these write stable values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from saescope.dashboard.state import links


def _key(name: str) -> str:
    return f"_saescope_{name}"


def choice(
    label: str,
    name: str,
    options: Mapping[str, str],
    *,
    style: Literal["segmented", "select"] = "select",
    default: str | None = None,
    help: str | None = None,
    also_clear: Sequence[str] = (),
    show_label: bool = True,
) -> str:
    """One of `options` (value in the URL -> text on the page); the first one is the default unless `default` says.

    A value in the URL that is no option counts as the default. `also_clear` names parameters that lose their meaning
    when this one changes (a page number).
    """
    default = next(iter(options)) if default is None else default
    key = _key(name)
    st.session_state[key] = links.text(name, default, list(options))

    def changed() -> None:
        picked = st.session_state[key] or default
        links.move(**{name: None if picked == default else picked}, **dict.fromkeys(also_clear))

    settings: dict[str, Any] = {
        "format_func": options.__getitem__,
        "key": key,
        "on_change": changed,
        "help": help,
        "label_visibility": "visible" if show_label else "collapsed",
    }
    if style == "segmented":
        st.segmented_control(label, list(options), required=True, **settings)
    else:
        st.selectbox(label, list(options), **settings)
    return links.text(name, default, list(options))


def search(
    label: str,
    name: str,
    *,
    placeholder: str = "",
    help: str | None = None,
    also_clear: Sequence[str] = (),
    show_label: bool = True,
) -> str:
    """A line of text."""
    key = _key(name)
    st.session_state[key] = links.text(name)

    def changed() -> None:
        links.move(**{name: st.session_state[key].strip() or None}, **dict.fromkeys(also_clear))

    st.text_input(
        label,
        key=key,
        on_change=changed,
        placeholder=placeholder,
        help=help,
        label_visibility="visible" if show_label else "collapsed",
    )
    return links.text(name)


def several(label: str, name: str, options: Sequence[str], *, most: int, placeholder: str = "") -> list[str]:
    """Up to `most` of `options`, in the order picked; values in the URL that are no options are left out."""
    key = _key(name)
    st.session_state[key] = [value for value in links.listed(name) if value in options][:most]

    def changed() -> None:
        links.move(**{name: list(st.session_state[key])})

    st.multiselect(label, list(options), key=key, on_change=changed, max_selections=most, placeholder=placeholder)
    return [value for value in links.listed(name) if value in options][:most]


def toggles(label: str, name: str, options: Mapping[str, str], *, help: str | None = None) -> list[str]:
    """Those of `options` (value in the URL -> text on the page) that are on; all of them unless the URL says which."""
    key = _key(name)

    def on() -> list[str]:
        given = links.listed(name)
        return [value for value in options if value in given] if given else list(options)

    st.session_state[key] = on()

    def changed() -> None:
        picked = [value for value in options if value in st.session_state[key]]
        links.move(**{name: None if picked == list(options) else picked or ["none"]})

    st.pills(
        label,
        list(options),
        selection_mode="multi",
        format_func=options.__getitem__,
        key=key,
        on_change=changed,
        help=help,
    )
    return on()


def page_number(name: str, n_pages: int) -> int:
    """A page from 1 to `n_pages`; shows the pager only where there is more than one."""
    page = min(max(1, links.whole_number(name, 1)), max(1, n_pages))
    if n_pages > 1:
        key = f"{_key(name)}_{page}"  # a key for each page: the pager takes its value from the address alone

        def changed() -> None:
            links.move(**{name: None if st.session_state[key] == 1 else st.session_state[key]})

        st.pagination(n_pages, default=page, key=key, on_change=changed)
    return page
