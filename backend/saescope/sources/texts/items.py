"""How tokenised documents are cut into items.

An item is a window of at most `content` tokens of a run: of one document ('pieces') or of all of them joined
('packed'). Windows begin `stride` tokens apart; the last one ends where the run ends. Every token is evaluated in
exactly one item: where windows overlap, in the first that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt

from saescope.sources.texts.framing import Frame
from saescope.sources.texts.options import Packing


@dataclass(frozen=True)
class Items:
    """Items over the tokens of a corpus."""

    tokens: UInt[np.ndarray, " token"]
    frame: Frame
    content: int
    """Most tokens of an item, without its frame."""
    first: Int64[np.ndarray, " n_items"]
    """Index in `tokens` of each item's first token."""
    length: Int32[np.ndarray, " n_items"]
    """Tokens of each item, without its frame."""
    overlap: Int32[np.ndarray, " n_items"]
    """Tokens at each item's beginning that an earlier item evaluates."""
    document: Int64[np.ndarray, " n_items"]
    """Document in which each item begins."""
    offset: Int64[np.ndarray, " n_items"]
    """Of each item's first token in its document."""

    @property
    def n_items(self) -> int:
        return len(self.first)

    def lengths(self, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]:
        """Positions of items, frame included."""
        return self.length[items].astype(np.int64) + self.frame.size

    def contexts(
        self, items: Int64[np.ndarray, " item"], excluded: Bool[np.ndarray, " vocabulary"]
    ) -> tuple[
        Int64[np.ndarray, "item position"], Bool[np.ndarray, "item position"], Bool[np.ndarray, "item position"]
    ]:
        """Token ids (padded with 0 on the right to the longest of these items), which are real, and which count."""
        lengths = self.lengths(items)
        width = int(lengths.max(initial=0))
        position = np.arange(width)
        real = position < lengths[:, None]
        ids = self._ids(items[:, None], np.broadcast_to(position, real.shape), real)
        before = len(self.frame.before)
        repeated = (position >= before) & (position < before + self.overlap[items][:, None])
        return ids, real, real & ~excluded[ids] & ~repeated

    def token_ids(
        self, items: Int64[np.ndarray, " row"], positions: Int64[np.ndarray, " row"]
    ) -> Int32[np.ndarray, " row"]:
        """The token at each position of each item."""
        return self._ids(items, positions, np.ones(len(items), dtype=bool)).astype(np.int32)

    def _ids(self, items: np.ndarray, positions: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Ids where `real`, else 0; the arguments broadcast to one shape."""
        before, after = self.frame.before, self.frame.after
        ids = np.zeros(real.shape, dtype=np.int64)
        at = positions - len(before)
        length = self.length[items]
        inside = real & (at >= 0) & (at < length)
        ids[inside] = self.tokens[(self.first[items] + at)[inside]]
        for place, token in enumerate(before):
            ids[real & (positions == place)] = token
        for place, token in enumerate(after):
            ids[real & (at == length + place)] = token
        return ids


def cut_into_items(
    tokens: UInt[np.ndarray, " token"],
    starts: Int64[np.ndarray, " document+1"],
    frame: Frame,
    content: int,
    stride: int,
    packing: Packing,
) -> Items:
    """Items of at most `content` tokens, `stride` apart (1 <= stride <= content)."""
    runs = starts if packing == "pieces" else starts[[0, -1]]
    sizes = np.diff(runs)
    windows = np.where(sizes > 0, 1 + np.maximum(0, -(-(sizes - content) // stride)), 0)
    run = np.repeat(np.arange(len(sizes)), windows)
    number = np.arange(len(run)) - np.repeat(np.cumsum(windows) - windows, windows)
    first = runs[run] + number * stride
    end = np.minimum(first + content, runs[run + 1])
    # Only windows of one run can overlap, and each but the last is full.
    overlap = np.where(number > 0, np.maximum(0, content - stride), 0)
    document = np.searchsorted(starts, first, side="right") - 1
    return Items(
        tokens,
        frame,
        content,
        first,
        (end - first).astype(np.int32),
        overlap.astype(np.int32),
        document,
        first - starts[document],
    )
