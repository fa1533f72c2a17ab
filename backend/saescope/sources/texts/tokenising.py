"""Documents to token ids, many at a time, long ones in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt32

from saescope.models.silence import quiet
from saescope.sources.texts.documents import Document, Scalar
from saescope.sources.texts.rendering import Rendering

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 1 << 20
"""Characters of a document's longest part: beyond that its end is looked for at a line's, or else a word's, so that
memory is bounded whatever a document's length."""
AT_ONCE = 1 << 18
"""Characters that are tokenised together, about."""


@dataclass(frozen=True)
class TokenisedDocument:
    """A document as tokens."""

    number: int
    """Its index in the corpus."""
    ids: UInt32[np.ndarray, " token"]
    sha256: bytes
    """Of its text in UTF-8; of the text and the number of tokens where it was cut."""
    values: Mapping[str, Scalar]

    def cut(self, n_tokens: int) -> TokenisedDocument:
        """Its first tokens."""
        if n_tokens == len(self.ids):
            return self
        mark = hashlib.sha256(self.sha256 + f" cut after {n_tokens} tokens".encode()).digest()
        return replace(self, ids=self.ids[:n_tokens], sha256=mark)


def tokenised(
    documents: Iterable[tuple[int, Document]],
    tokenizer: PreTrainedTokenizerBase,
    wanted: Callable[[int], bool] = lambda number: True,
    rendering: Rendering | None = None,
) -> Iterator[TokenisedDocument]:
    """Every document that is `wanted` (asked by its number, when its turn comes), without added tokens.

    Conversations and tokens made before need a `rendering`.
    """
    queue: list[_Open] = []
    parts: list[tuple[_Open, str]] = []
    held = 0
    for number, document in documents:
        if not wanted(number):
            continue
        entry = _Open(number, document.values)
        queue.append(entry)
        texts = document.parts
        if document.ids is not None and rendering is not None:
            entry.take(rendering.checked(document.ids, number))
        elif document.turns is not None and rendering is not None:
            texts = (rendering.text(document.turns, number),)
        for part in _parts(texts):
            entry.digest.update(part.encode())
            parts.append((entry, part))
            held += len(part)
            if held >= AT_ONCE:
                _tokenise(parts, tokenizer)
                parts, held = [], 0
        if not parts or len(queue) >= 4096:
            _tokenise(parts, tokenizer)
            parts, held = [], 0
            yield from (e.finished() for e in queue)
            queue = []
    _tokenise(parts, tokenizer)
    yield from (e.finished() for e in queue)


@dataclass
class _Open:
    """A document whose parts are being tokenised."""

    number: int
    values: Mapping[str, Scalar]
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    ids: list[np.ndarray] = field(default_factory=list)

    def take(self, ids: UInt32[np.ndarray, " token"]) -> None:
        """Tokens made before."""
        self.digest.update(b"tokens\n" + ids.astype("<u4").tobytes())
        self.ids.append(ids)

    def finished(self) -> TokenisedDocument:
        ids = np.concatenate(self.ids) if self.ids else np.empty(0, np.uint32)
        return TokenisedDocument(self.number, ids, self.digest.digest(), self.values)


def _tokenise(parts: list[tuple[_Open, str]], tokenizer: PreTrainedTokenizerBase) -> None:
    if not parts:
        return
    with quiet():  # of texts longer than the model's context, which are cut afterwards
        encoded = tokenizer(
            [part for _, part in parts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
    for (entry, _), ids in zip(parts, encoded, strict=True):
        entry.ids.append(np.array(ids, dtype=np.uint32))


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """The text in parts of at most `LONGEST` characters, cut after a line, or else before a space."""
    rest = ""
    for text in texts:
        rest = rest + text if rest else text
        while len(rest) > LONGEST:
            at = rest.rfind("\n", 1, LONGEST) + 1 or rest.rfind(" ", 1, LONGEST)
            at = at if at > 0 else LONGEST
            yield rest[:at]
            rest = rest[at:]
    if rest:
        yield rest
