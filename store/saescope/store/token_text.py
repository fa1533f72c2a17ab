"""Tokens as people read them: byte pieces joined to the character that they spell, invisible characters made visible.

A store keeps the text of each token as its vocabulary has it; a token that holds part of a character's UTF-8 bytes
has them as `<0xE4>`. Nothing here changes what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
MOST_BYTES = 4
"""Bytes of the longest character in UTF-8: no more tokens than these can spell one."""


@dataclass(frozen=True)
class Piece:
    """`text` is spelled by the tokens from `start` to `stop` (excluded) together."""

    start: int
    stop: int
    text: str


def pieces(tokens: Sequence[str]) -> list[Piece]:
    """The tokens in order, those that spell a character only together as one piece; bytes that spell none stay."""
    found = []
    at = 0
    while at < len(tokens):
        piece = _spelled(tokens, at) if _BYTE.search(tokens[at]) else None
        found.append(piece or Piece(at, at + 1, tokens[at]))
        at = found[-1].stop
    return found


def _spelled(tokens: Sequence[str], start: int) -> Piece | None:
    """The shortest run of tokens from `start` on whose bytes are whole characters."""
    raw = b""
    for stop in range(start + 1, min(start + 2 * MOST_BYTES, len(tokens) + 1)):
        raw += _bytes(tokens[stop - 1])
        try:
            return Piece(start, stop, raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return None
    return None


def _bytes(token: str) -> bytes:
    """The bytes that a token stands for."""
    parts = _BYTE.split(token)  # text, two digits, text, two digits, ..., text
    return b"".join(bytes.fromhex(part) if i % 2 else part.encode("utf-8") for i, part in enumerate(parts))


def text_of(tokens: Sequence[str]) -> str:
    """The text that the tokens spell."""
    return "".join(piece.text for piece in pieces(tokens))


def spelling(text: str) -> str:
    """A regular expression (RE2) for `text` in joined tokens: any white space for white space, each character beyond
    ASCII either whole or as byte pieces."""
    found = []
    for word in re.split(r"(\s+)", text):
        if word.isspace():
            found.append(r"\s+")
            continue
        for character in word:
            as_bytes = "".join(f"<0x{byte:02X}>" for byte in character.encode("utf-8"))
            found.append(re.escape(character) if character.isascii() else f"(?:{re.escape(character)}|{as_bytes})")
    return "".join(found)


_NAMED = {"\n": "↵", "\r": "␍", "\t": "⇥", "\x7f": "␡"} | {
    chr(code): chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\r\t"
}
_HIDDEN = re.compile(
    "[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u2000-\u200b\u2028-\u202f\u205f-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Control characters, spaces other than the plain one, and what changes the direction of text. The joiners and marks
that scripts and emoji need to be drawn right (U+200C to U+200F, variation selectors) are not among them."""
_ALONE = re.compile("[\u200c-\u200f\ufe00-\ufe0f]+")
EDGE_SPACE = "␣"


def visible(text: str, edges: bool = False) -> str:
    """`text` on one line with every invisible character as a sign: ↵, ⇥, ␀, ⟨200B⟩; with `edges`, spaces at the
    beginning and at the end as ␣."""
    if _ALONE.fullmatch(text):
        return "".join(map(_code, text))
    shown = _HIDDEN.sub(lambda match: _NAMED.get(match[0]) or _code(match[0]), text)
    if edges:
        inner = shown.strip(" ")
        start = len(shown) - len(shown.lstrip(" "))
        shown = EDGE_SPACE * start + inner + EDGE_SPACE * (len(shown) - start - len(inner))
    return shown


def _code(character: str) -> str:
    return f"⟨{ord(character):04X}⟩"


def typed(text: str) -> str:
    """What somebody means who types the signs of `visible` in place of the characters: ␣, ↵ and ⇥."""
    return text.replace(EDGE_SPACE, " ").replace("↵", "\n").replace("⇥", "\t")
