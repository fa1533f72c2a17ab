"""Short lists of tokens beside each other: those that fire a feature, those that it raises and lowers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from saescope.dashboard.components import assets
from saescope.store.token_text import visible

_mount = st.components.v2.component(
    "saescope_token_lists",
    html='<div class="root"></div>',
    css=assets.text_of("browser/tooltips.css", "browser/tokens.css", "token_lists/token_lists.css"),
    js=assets.text_of("browser/opening.js", "browser/tokens.js", "browser/tooltips.js", "token_lists/token_lists.js"),
)


@dataclass(frozen=True)
class TokenRow:
    """`numbers` as they are written, `share` (0 to 1) of the bar behind, `query` the search that the row leads to."""

    token: str
    numbers: Sequence[str]
    share: float
    tip: str
    query: str


@dataclass(frozen=True)
class TokenList:
    """A list with its title, what its numbers are, the explanation on hover, and the colour of its bars."""

    title: str
    numbers: Sequence[str]
    help: str
    colour: str
    rows: Sequence[TokenRow]


def token_lists(lists: Sequence[TokenList], *, key: str, href: str, room: int) -> None:
    """Draw the lists; `href` with a query appended is the address of its results. `room` is a number of rows that
    there is always place for."""
    data = {
        "lists": [
            {
                "title": shown.title,
                "numbers": list(shown.numbers),
                "help": shown.help,
                "colour": shown.colour,
                "rows": [
                    {
                        "token": visible(row.token, edges=True),
                        "numbers": list(row.numbers),
                        "share": row.share,
                        "tip": row.tip,
                        "value": row.query,
                    }
                    for row in shown.rows
                ],
            }
            for shown in lists
        ],
        "href": href,
        "room": room,
    }
    _mount(key=key, data=data)
