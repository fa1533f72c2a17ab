"""Tokens of a vocabulary as people read them, each by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_START = "▁"


def token_texts(tokenizer: PreTrainedTokenizerBase, size: int | None = None) -> list[str]:
    """token_id -> text: " def", "ing", "<|im_start|>", "<0xE4>".

    Byte-level tokens are decoded, bytes that are no whole character stay visible as <0xE4>; SentencePiece's ▁ becomes a
    space; of WordPiece, "##ing" becomes "ing" and what begins a word gets a space. Special tokens and control
    characters stay as they are. Ids up to `size` that the tokenizer does not know (models pad their vocabularies) are
    "<unused 50280>".
    """
    pieces = {number: piece for piece, number in tokenizer.get_vocab().items()}
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    scheme = _scheme(tokenizer)
    last = max([*pieces, *added, -1])
    texts = []
    for number in range(max(last + 1, size or 0)):
        if number in added:
            texts.append(added[number])
        elif number in pieces:
            texts.append(scheme(pieces[number]))
        else:
            texts.append(f"<unused {number}>")
    return texts


def _scheme(tokenizer: PreTrainedTokenizerBase) -> Any:
    """How pieces of this tokenizer are written."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _sentence_piece
    parts = json.loads(backend.to_str())
    kinds = _kinds(parts.get("decoder")) | _kinds(parts.get("pre_tokenizer"))
    if "ByteLevel" in kinds:
        return _byte_level
    if (parts.get("model") or {}).get("type") == "WordPiece":
        prefix = parts["model"].get("continuing_subword_prefix", "##")
        return lambda piece: piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
    return _sentence_piece


def _kinds(part: Mapping[str, Any] | None) -> set[str]:
    if part is None:
        return set()
    within = [*part.get("decoders", []), *part.get("pretokenizers", [])]
    return {part["type"]}.union(*(_kinds(p) for p in within))


def _byte_level(piece: str) -> str:
    table = _byte_of_character()
    if not all(character in table for character in piece):
        return piece
    return _visible(bytes(table[character] for character in piece))


def _sentence_piece(piece: str) -> str:
    match = _BYTE.fullmatch(piece)
    if match:
        return _visible(bytes([int(match[1], 16)]))
    return piece.replace(_WORD_START, " ")


def _visible(data: bytes) -> str:
    """UTF-8 as text; bytes that are no whole character as <0xE4>."""
    return data.decode("utf-8", "surrogateescape").translate(_ESCAPED)


_ESCAPED = {0xDC00 + byte: f"<0x{byte:02X}>" for byte in range(0x80, 0x100)}


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for characters from U+0100 on, in order
    (Radford et al. 2019, encoder.py)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
