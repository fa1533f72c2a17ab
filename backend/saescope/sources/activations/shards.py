"""Activations in one or several arrays, one after another, that need not fit into memory together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from saescope.sources.mapped_files import let_go


class Shards:
    """Arrays [item, position, d_in] of any floating or integer type, seen as one of float32.

    `bfloat16` says which of them hold bfloat16's bits as uint16: NumPy has no such type.
    """

    def __init__(self, arrays: Sequence[Shaped[np.ndarray, "item position d_in"]], bfloat16: Sequence[bool]) -> None:
        self._arrays = arrays
        tensors = [torch.from_numpy(array) for array in arrays]
        self._tensors = [t.view(torch.bfloat16) if b else t for t, b in zip(tensors, bfloat16, strict=True)]
        self._starts = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)])
        self.shape = (int(self._starts[-1]), *arrays[0].shape[1:])
        self._flat = [tensor.reshape(-1, self.shape[2]) for tensor in self._tensors]

    def read(self, start: int, stop: int) -> Float[Tensor, "item position d_in"]:
        """Items start ... stop - 1; of a single float32 array a view."""
        parts = [self._tensors[s][a:b].to(torch.float32) for s, a, b in self._between(start, stop)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        """Positions, counted over all items."""
        if len(self._flat) == 1:
            return self._flat[0].index_select(0, torch.from_numpy(indices)).to(torch.float32)
        starts = self._starts * self.shape[1]
        shard = np.searchsorted(starts, indices, side="right") - 1
        found = torch.empty((len(indices), self.shape[2]), dtype=torch.float32)
        for s in np.unique(shard):
            places = np.flatnonzero(shard == s)
            local = torch.from_numpy(indices[places] - starts[s])
            found[torch.from_numpy(places)] = self._flat[s].index_select(0, local).to(torch.float32)
        return found

    def let_go(self, start: int, stop: int) -> None:
        """Items that will not be read again soon: their pages of a mapped file are dropped."""
        for s, a, b in self._between(start, stop):
            let_go(self._arrays[s][a:b])

    def _between(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Shard, first and last + 1 item in it."""
        bounds = zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True)
        cut = [(s, max(start, a) - a, min(stop, b) - a) for s, (a, b) in enumerate(bounds)]
        return [(s, a, b) for s, a, b in cut if a < b]
