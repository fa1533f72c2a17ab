"""A feature of texts in the terminal: the tokens that fire it, those that it raises and lowers, its examples."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saescope.cli.report import line, number, percent
from saescope.store.token_text import pieces, visible

if TYPE_CHECKING:
    from saescope.store import Entry
    from saescope.store.records import Example, Feature

N_TOKENS = 8
OPEN, CLOSE = "«", "»"
"""What stands around the token of an example."""


def show_tokens(entry: Entry, feature: Feature) -> None:
    """The lists of tokens, where the entry has them."""
    fired = entry.top_tokens(feature.feature_id)[:N_TOKENS]
    if fired:
        shares = [
            f"{_token(t.token)} {percent(t.n_firing / feature.n_firing)} (lift {number(t.lift, 2)})" for t in fired
        ]
        line(f"fires on      {', '.join(shares)}")
    for sign, title in ((1, "raises"), (-1, "lowers")):
        logits = entry.top_logits(feature.feature_id, sign)[:N_TOKENS]
        if logits:
            line(f"{title}        {', '.join(f'{_token(x.token)} {x.logit:+.3g}' for x in logits)}")


def _token(text: str) -> str:
    return visible(text, edges=True)


def show_strips(examples: Sequence[Example], items: Mapping[int, Mapping[str, Any]]) -> None:
    """One example a line, its token between « and » in the same column."""
    width = shutil.get_terminal_size((120, 24)).columns
    room = max(20, width - 9 - 1)
    left = room * 2 // 5
    for example in examples:
        before, token, after = around(items[example.item_id]["tokens"], example.position)
        start = _last_cells(before, left - 1)
        text = " " * (left - 1 - _cells(start)) + start + OPEN + token + CLOSE
        text += _first_cells(after, room - _cells(text))
        line(f"{number(example.activation):>8}  {text}".rstrip())


def around(tokens: Sequence[str], position: int) -> tuple[str, str, str]:
    """The text before the token at `position`, its own (with what it spells together), and the text after it."""
    found = pieces(tokens)
    at = next((i for i, piece in enumerate(found) if piece.start <= position < piece.stop), len(found))
    texts = [visible(piece.text) for piece in found]
    return "".join(texts[:at]), "".join(texts[at : at + 1]), "".join(texts[at + 1 :])


def _cells(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _first_cells(text: str, most: int) -> str:
    """The beginning of `text` that fits in `most` columns."""
    used = 0
    for i, character in enumerate(text):
        used += _width(character)
        if used > most:
            return text[:i]
    return text


def _last_cells(text: str, most: int) -> str:
    """The end of `text` that fits in `most` columns."""
    used = 0
    for i, character in enumerate(reversed(text)):
        used += _width(character)
        if used > most:
            return text[len(text) - i :]
    return text
