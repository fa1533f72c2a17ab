"""Where words begin in the texts of a source, by their first letter: what feature absorption is measured on.

A word begins at a token whose text is a space and two or more letters a to z, in either case (what begins a word is
written with a space whatever the tokenizer, see `sources.texts.vocabulary`).

Shape symbols: `word` places at which a word begins, `token` tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from saescope.sources.protocol import TokenSource
from saescope.sources.split import hashes

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST_PER_TOKEN = 4
"""Positions of one token that are used: a rate is of words, not of the commonest one."""
MOST_WORDS = 20_000
"""Positions that are used. Of more, of a token's and of all, those with the smallest seeded hash of their place."""
FEWEST_TOKENS = 10
"""Different tokens that begin with a letter, and as many that do not, that each half needs."""
HALVES_SEED, WORDS_SEED = 4, 5
ITEMS_AT_ONCE = 1024
MOST_HELD = 2**20
"""Places held while a source is looked through, before all but those that may be used are let go."""

_WORD = re.compile(" ([A-Za-z])[A-Za-z]+")


@dataclass(frozen=True)
class Words:
    """Places at which words begin, by item then position."""

    items: Int64[np.ndarray, " word"]
    positions: Int64[np.ndarray, " word"]
    tokens: Int64[np.ndarray, " word"]
    letters: Int64[np.ndarray, " word"]
    """First letter, 0 for a to 25 for z."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, chosen: Bool[np.ndarray, " word"] | Int64[np.ndarray, " chosen"]) -> Words:
        return Words(self.items[chosen], self.positions[chosen], self.tokens[chosen], self.letters[chosen])

    @property
    def judging(self) -> Bool[np.ndarray, " word"]:
        """Whether each is of the half of all tokens that probes are judged on, and never fitted on."""
        return judging_half(self.tokens)

    def measurable(self) -> list[int]:
        """Letters with `FEWEST_TOKENS` different tokens in each half, where as many others are, ascending."""
        tokens, first = np.unique(self.tokens, return_index=True)
        letters, judging = self.letters[first], judging_half(tokens)
        counts = np.stack([np.bincount(letters[half], minlength=len(LETTERS)) for half in (~judging, judging)])
        others = counts.sum(1, keepdims=True) - counts
        return np.flatnonzero((np.minimum(counts, others) >= FEWEST_TOKENS).all(0)).tolist()


def judging_half(tokens: Int64[np.ndarray, " token"]) -> Bool[np.ndarray, " token"]:
    """True for the tokens of the half that probes are judged on, by a seeded hash of the token's id."""
    return hashes(tokens, HALVES_SEED) >= np.uint64(2**63)


def first_letters(source: TokenSource) -> Int64[np.ndarray, " vocab"]:
    """First letter of the word that each token of the vocabulary begins, 0 for a; -1 where it begins none."""
    found = (_WORD.fullmatch(text) for text in source.vocabulary)
    return np.array([-1 if match is None else LETTERS.index(match[1].lower()) for match in found], np.int64)


def choose_words(source: TokenSource) -> Words:
    """The words that are used, the same whatever the source's batches. Memory follows the vocabulary, not the texts."""
    letters = first_letters(source)
    held, n_held = list[Words](), 0
    for found in _all_words(source, letters):
        held.append(found)
        n_held += len(found)
        if n_held > MOST_HELD:
            held = [_few_per_token(_joined(held), source.positions_per_item)]
            n_held = 0  # what is held for good does not count, or a large vocabulary would be sorted at every step
    words = _few_per_token(_joined(held), source.positions_per_item)
    if len(words) > MOST_WORDS:
        words = words[np.argsort(_hashes(words, source.positions_per_item))[:MOST_WORDS]]
    return words[np.lexsort((words.positions, words.items))]


def _all_words(source: TokenSource, letters: Int64[np.ndarray, " vocab"]) -> Iterator[Words]:
    for start in range(0, source.n_items, ITEMS_AT_ONCE):
        ids, _, counts = source.contexts(np.arange(start, min(start + ITEMS_AT_ONCE, source.n_items)))
        rows, positions = np.nonzero(counts & (letters[ids] >= 0))
        tokens = ids[rows, positions].astype(np.int64)
        yield Words(rows + start, positions, tokens, letters[tokens])


def _joined(parts: list[Words]) -> Words:
    fields = ("items", "positions", "tokens", "letters")
    nothing = np.empty(0, np.int64)
    return Words(*(np.concatenate([nothing, *(getattr(part, name) for part in parts)]) for name in fields))


def _few_per_token(words: Words, positions_per_item: int) -> Words:
    """At most `MOST_PER_TOKEN` places of each token."""
    order = np.lexsort((_hashes(words, positions_per_item), words.tokens))
    tokens = words.tokens[order]
    starts = np.flatnonzero(np.diff(tokens, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return words[order[rank < MOST_PER_TOKEN]]


def _hashes(words: Words, positions_per_item: int) -> np.ndarray:
    return hashes(words.items * positions_per_item + words.positions, WORDS_SEED)
