"""Which documents are read where only so many tokens are wanted: those with the smallest hash.

The choice is a function of the documents and the number alone, and a smaller one is part of a larger one. Documents
that cannot be among the chosen are never tokenised, and memory holds the chosen ones only.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from saescope.sources.split import hashes

T = TypeVar("T")
SEED = 0x7E875


@dataclass
class Chosen(Generic[T]):
    """The documents that come first by hash until they hold `wanted` tokens."""

    wanted: int
    total: int = 0
    """Tokens of the documents that are kept."""
    _kept: list[tuple[int, int, int, T]] = field(default_factory=list)
    """A heap, largest hash first: minus the hash, document, tokens, what is kept of it."""

    def may_hold(self, document: int) -> bool:
        """Whether a document can still be among the chosen."""
        return self.total < self.wanted or _hash(document) < -self._kept[0][0]

    def add(self, document: int, n_tokens: int, content: T) -> None:
        if not self.may_hold(document) or n_tokens == 0:
            return
        heapq.heappush(self._kept, (-_hash(document), document, n_tokens, content))
        self.total += n_tokens
        while self.total - self._kept[0][2] >= self.wanted:
            self.total -= heapq.heappop(self._kept)[2]

    def in_order(self) -> list[tuple[int, int, T]]:
        """Document, number of its first tokens that are taken, and what is kept of it. Only the document with the
        largest hash is cut."""
        over = max(0, self.total - self.wanted)
        last = self._kept[0][1] if self._kept else -1
        chosen = [(d, n - over if d == last else n, content) for _, d, n, content in self._kept]
        return sorted(chosen, key=lambda entry: entry[0])


def _hash(document: int) -> int:
    return int(hashes(np.array([document]), SEED)[0])
