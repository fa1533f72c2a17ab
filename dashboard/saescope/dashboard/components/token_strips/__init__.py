"""Examples of texts, one a line: the firing token in view, colour by activation, the whole context on demand.

Texts reach the page by `textContent` alone; lines take their direction from their own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from saescope.dashboard import theme
from saescope.dashboard.components import assets
from saescope.store.token_text import pieces, visible

_mount = st.components.v2.component(
    "saescope_token_strips",
    html='<div class="root"></div>',
    css=f":host {{ --activation: {theme.ACTIVATION}; }}\n"
    + assets.text_of("browser/tooltips.css", "browser/tokens.css", "token_strips/token_strips.css"),
    js=assets.text_of("browser/opening.js", "browser/tokens.js", "browser/tooltips.js", "token_strips/token_strips.js"),
)

MOST_TOKENS = 1024
"""Longer contexts are cut to this many tokens around the firing one; the page of the item has all."""


@dataclass(frozen=True)
class Strip:
    """One example. `tokens` and `token_ids` are the whole item's, `activations` those of the positions from
    `window_start` on; `at` is the example's position, `number` its activation as written, `mark` for the histogram.

    `meta` stands at the end of the line and leads to the item, `tip` explains it.
    """

    item_id: int
    at: int
    number: str
    mark: float
    tokens: Sequence[str]
    token_ids: Sequence[int] | None
    activations: Sequence[float]
    window_start: int
    meta: str
    tip: str

    def payload(self) -> dict[str, Any]:
        """What the browser draws: pieces [text, first position, position after the last], activations that are
        not 0 by position."""
        start = max(0, min(self.at - MOST_TOKENS // 2, len(self.tokens) - MOST_TOKENS))
        stop = start + MOST_TOKENS
        return {
            "item": self.item_id,
            "at": self.at,
            "number": self.number,
            "mark": self.mark,
            "pieces": shown_pieces(self.tokens[start:stop], start),
            "ids": None if self.token_ids is None else list(self.token_ids[start:stop]),
            "offset": start,
            "fired": {
                self.window_start + i: float(f"{value:.4g}") for i, value in enumerate(self.activations) if value
            },
            "meta": self.meta,
            "tip": self.tip,
        }


def shown_pieces(tokens: Sequence[str], start: int = 0) -> list[tuple[str, int, int]]:
    """Pieces of text that can be seen, with the positions (from `start` on) of their tokens."""
    return [(visible(piece.text), start + piece.start, start + piece.stop) for piece in pieces(tokens)]


def token_strips(
    strips: Sequence[Strip], *, key: str, label: str, strongest: float, href: str, whole: bool = False, room: int = 0
) -> None:
    """Draw `strips`; `strongest` (the feature's largest |activation|) is full colour.

    `href` with an item appended is its address. `whole` opens every line. `room` is a number of closed lines that
    there is always place for.
    """
    data = {
        "strips": [strip.payload() for strip in strips],
        "label": label,
        "strongest": strongest if strongest > 0 else 1.0,
        "full": theme.ACTIVATION_DEPTH[theme.scheme()],
        "href": href,
        "whole": whole,
        "room": room,
    }
    _mount(key=key, data=data)
