"""Random access to a model's activations, for training: from the disk, or computed as they are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from saescope.sources.hooked.activation_cache import ActivationCache
from saescope.sources.hooked.windows import ItemReader
from saescope.sources.targets import Joined
from saescope.store.errors import DataError

CHUNK_VALUES = 1 << 25
"""Values of a chunk that is computed together: 128 MiB in float32."""
KEPT_CHUNKS = 2
_ITEMS_AT_ONCE = 1 << 13

ReadItems = Callable[
    [Int64[np.ndarray, " item"]], tuple[Float[Tensor, "item position d_in"], Bool[np.ndarray, "item position"]]
]
"""Activations of any items, and the positions that count."""


class CachedRows:
    """Rows of the chosen items (None: all) in a complete cache."""

    def __init__(self, cache: ActivationCache, d_in: int, items: Int64[np.ndarray, " chosen"] | None) -> None:
        self._cache, self.d_in = cache, d_in
        starts = cache.starts
        self._items = items
        chosen = np.diff(starts) if items is None else np.diff(starts)[items]
        self._starts = np.concatenate([[0], np.cumsum(chosen)])
        self.n_rows = int(self._starts[-1])

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        indices = _checked(indices, self.n_rows)
        if self._items is not None:
            place = np.searchsorted(self._starts, indices, side="right") - 1
            indices = self._cache.starts[self._items[place]] + indices - self._starts[place]
        return self._cache.rows(indices)


class StreamedRows:
    """Rows of items that are computed in chunks of shuffled items when they are asked for; two chunks are kept.

    Items are dealt into chunks at random, once and for all; `epoch_order` goes through the chunks in an order of the
    epoch's own, and through each chunk's rows at random, so that a batch mixes thousands of items and every chunk is
    computed once per epoch. Rows are the positions that count as far as the inputs tell; one that is left out for its
    norm, which is known only when it is computed, gives its place to the nearest row before it in its chunk.
    """

    def __init__(
        self,
        reader: ItemReader,
        read: ReadItems,
        d_in: int,
        items: Int64[np.ndarray, " chosen"],
        at_once: int,
    ) -> None:
        self._reader, self._read, self.d_in, self._at_once = reader, read, d_in, at_once
        counts = [
            reader.evaluated(items[at : at + _ITEMS_AT_ONCE]).sum(axis=1) for at in range(0, len(items), _ITEMS_AT_ONCE)
        ]
        self._starts = np.concatenate([[0], *counts]).cumsum().astype(np.int64)
        self.n_rows = int(self._starts[-1])
        self._items = items
        per_chunk = max(1, CHUNK_VALUES // (d_in * reader.positions_per_item))
        shuffled = np.random.default_rng(0).permutation(len(items))
        # The chosen items (by place) of each chunk, in order.
        self._chunks = [np.sort(shuffled[at : at + per_chunk]) for at in range(0, len(items), per_chunk)]
        self._chunk_of = np.empty(len(items), dtype=np.int64)
        self._offset = np.empty(len(items), dtype=np.int64)  # of an item's first row in its chunk
        self._sizes = np.empty(len(self._chunks), dtype=np.int64)
        n_rows = np.diff(self._starts)
        for number, places in enumerate(self._chunks):
            self._chunk_of[places] = number
            ends = np.cumsum(n_rows[places])
            self._offset[places] = ends - n_rows[places]
            self._sizes[number] = ends[-1]
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        indices = _checked(indices, self.n_rows)
        place = np.searchsorted(self._starts, indices, side="right") - 1
        chunk = self._chunk_of[place]
        local = self._offset[place] + indices - self._starts[place]
        out: Tensor | None = None
        # Kept chunks first, before others take their places.
        for number in sorted(np.unique(chunk).tolist(), key=lambda c: (c not in self._kept, c)):
            values = self._chunk(number)
            if out is None:
                out = torch.empty(len(indices), self.d_in, device=values.device)
            chosen = np.flatnonzero(chunk == number)
            wanted = torch.from_numpy(local[chosen]).to(values.device)
            out[torch.from_numpy(chosen).to(values.device)] = values[wanted]
        return torch.empty(0, self.d_in) if out is None else out

    def epoch_order(self, seed: int, epoch: int) -> ChunkOrder:
        """The order in which an epoch goes through the rows."""
        return ChunkOrder(self, seed, epoch)

    def sample_rows(self) -> Int64[np.ndarray, " row"]:
        """Rows that stand for all where reading all costs too much: a chunk's."""
        return self.rows_of_chunk(int(np.argmax(self._sizes > 0)))

    @property
    def chunk_sizes(self) -> Int64[np.ndarray, " chunk"]:
        """Rows of each chunk."""
        return self._sizes

    def rows_of_chunk(self, number: int) -> Int64[np.ndarray, " row"]:
        """The rows of a chunk, ascending."""
        places = self._chunks[number]
        n_rows = self._starts[places + 1] - self._starts[places]
        return np.repeat(self._starts[places] - self._offset[places], n_rows) + np.arange(n_rows.sum())

    def _chunk(self, number: int) -> Float[Tensor, "row d_in"]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        while len(self._kept) >= KEPT_CHUNKS:
            self._kept.popitem(last=False)
        self._kept[number] = self._computed(number)
        return self._kept[number]

    def _computed(self, number: int) -> Float[Tensor, "row d_in"]:
        items = self._items[self._chunks[number]]
        parts: list[Tensor] = []
        counted: list[np.ndarray] = []
        for at in range(0, len(items), self._at_once):
            part = items[at : at + self._at_once]
            activations, mask = self._read(part)
            evaluated = self._reader.evaluated(part)
            parts.append(activations[torch.from_numpy(evaluated).to(activations.device)])
            counted.append(mask[evaluated])
        rows, counts = torch.cat(parts), np.concatenate(counted)
        if counts.all():
            return rows
        good = np.flatnonzero(counts)
        if not len(good):
            raise DataError(
                f"every position of {len(items):,} items is left out for its norm", "give a larger --exclude-norm, or 0"
            )
        nearest = np.maximum(np.searchsorted(good, np.arange(len(counts)), side="right") - 1, 0)
        return rows[torch.from_numpy(good[nearest]).to(rows.device)]


class StreamedPairs(Joined):
    """Streamed rows that hold an input with its target behind it, taken apart."""

    def __init__(self, joint: StreamedRows, d_in: int) -> None:
        super().__init__(joint, d_in)
        self.epoch_order, self.sample_rows = joint.epoch_order, joint.sample_rows


class ChunkOrder:
    """An epoch's order of rows, sliced without holding all of it."""

    def __init__(self, rows: StreamedRows, seed: int, epoch: int) -> None:
        self._rows, self._seed = rows, (seed, epoch)
        self._sequence = np.random.default_rng([seed, epoch]).permutation(len(rows.chunk_sizes))
        self._starts = np.concatenate([[0], np.cumsum(rows.chunk_sizes[self._sequence])])
        self._last: tuple[int, Int64[np.ndarray, " row"]] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, span: slice) -> Int64[np.ndarray, " row"]:
        start, stop, step = span.indices(len(self))
        assert step == 1
        parts = []
        while start < stop:
            place = int(np.searchsorted(self._starts, start, side="right")) - 1
            within = self._shuffled(place)
            begin = start - int(self._starts[place])
            parts.append(within[begin : begin + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _shuffled(self, place: int) -> Int64[np.ndarray, " row"]:
        if self._last is None or self._last[0] != place:
            chunk = int(self._sequence[place])
            rows = self._rows.rows_of_chunk(chunk)
            self._last = (place, np.random.default_rng([*self._seed, 1 + chunk]).permutation(rows))
        return self._last[1]


def _checked(indices: np.ndarray, n_rows: int) -> Int64[np.ndarray, " row"]:
    indices = np.asarray(indices, dtype=np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= n_rows):
        raise IndexError(f"rows {indices.min()} ... {indices.max()} of {n_rows}")
    return indices
