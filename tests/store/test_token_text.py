"""Tokens as people read them."""

from __future__ import annotations

import re

import pytest

from saescope.store.token_text import Piece, pieces, spelling, text_of, typed, visible


def as_bytes(text: str) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in text.encode()]


def test_bytes_become_the_character_that_they_spell() -> None:
    owl = as_bytes("🦉")
    assert pieces(["a", *owl, "b"]) == [Piece(0, 1, "a"), Piece(1, 5, "🦉"), Piece(5, 6, "b")]
    assert pieces(["<0xE4><0xBD>", "<0xA0>x"]) == [Piece(0, 2, "你x")]
    assert pieces(["x<0xC3>", "<0xA9>"]) == [Piece(0, 2, "xé")]
    assert pieces(["<0x0A>"]) == [Piece(0, 1, "\n")]
    assert text_of([*as_bytes("é"), *as_bytes("你"), " ok"]) == "é你 ok"


@pytest.mark.parametrize(
    "tokens",
    [
        ["<0xE4>", "a"],  # cut short
        ["<0xE4>", "<0xBD>"],  # the end comes first
        ["<0x80>", "<0x80>"],  # no beginning
        ["<0xED>", "<0xA0>", "<0x80>"],  # a surrogate is no character
        ["<0xF0>"],
    ],
)
def test_bytes_that_spell_nothing_stay(tokens: list[str]) -> None:
    assert pieces(tokens) == [Piece(i, i + 1, token) for i, token in enumerate(tokens)]


def test_every_token_is_in_exactly_one_piece() -> None:
    tokens = ["<0xE4>", *as_bytes("你"), "<0xA0>", "a", *as_bytes("é"), "<0xF0>"]
    found = pieces(tokens)
    assert [p for piece in found for p in range(piece.start, piece.stop)] == list(range(len(tokens)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r", "a↵b⇥c␍"),
        ("\x00\x1b\x7f", "␀␛␡"),
        ("\u202ereversed\u2066", "⟨202E⟩reversed⟨2066⟩"),
        ("a\u00a0b\u200bc\u00ad\ufeff", "a⟨00A0⟩b⟨200B⟩c⟨00AD⟩⟨FEFF⟩"),
        ("\U000e0041", "⟨E0041⟩"),
        ("👩\u200d👧", "👩\u200d👧"),  # joined as it must be
        ("\u200d", "⟨200D⟩"),  # alone, it could not be seen
        ("שלום عربي 中文 é", "שלום عربي 中文 é"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        (" a ", " a "),
    ],
)
def test_what_cannot_be_seen_gets_a_sign(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_spaces_at_the_edges_are_shown_where_asked_and_can_be_typed() -> None:
    assert visible("  def ", edges=True) == "␣␣def␣"
    assert visible("   ", edges=True) == "␣␣␣"
    assert typed("␣def↵⇥") == " def\n\t"


def test_a_spelling_finds_text_in_joined_tokens() -> None:
    joined = "".join(["so ", *as_bytes("你"), "好", "\n", "a+b"])
    for text in ("你好", "SO 你好", "好 a+b", "a+b"):
        assert re.search(spelling(text), joined, re.IGNORECASE)
    for text in ("好你", "aab", "soo"):
        assert not re.search(spelling(text), joined, re.IGNORECASE)
