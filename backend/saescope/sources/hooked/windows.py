"""Forward passes over runs of items, in batches whose shape does not depend on where a run was cut.

Items are read in windows of a fixed number, counted from the first item of all. Inside a window the longest go first,
so that a batch holds items of nearly one length and little padding is computed; results come in the source's order.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

POSITIONS = {"cpu": (1 << 13, 1 << 9), "cuda": (1 << 16, 1 << 14)}
"""Kind of device -> positions of a window and of a batch, padding included. A CPU is fastest where a batch's
activations stay in its caches."""


class ItemReader(Protocol):
    """A model's way to look at items."""

    @property
    def n_items(self) -> int: ...

    @property
    def positions_per_item(self) -> int:
        """At most."""
        ...

    def lengths(self, items: Int64[np.ndarray, " item"]) -> Int64[np.ndarray, " item"]:
        """Positions of each item."""
        ...

    def evaluated(self, items: Int64[np.ndarray, " item"]) -> Bool[np.ndarray, "item position"]:
        """Positions that count, as far as the inputs tell, up to the longest of these items."""
        ...

    def forward(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item position d_in"]:
        """Float32 activations, one batch, up to the longest of these items. Those of padding mean nothing."""
        ...


class Windows:
    """The windows of a reader's items."""

    def __init__(self, reader: ItemReader, device: str) -> None:
        kind = device.partition(":")[0]
        window, self._batch = POSITIONS.get(kind, POSITIONS["cpu"])
        self._reader = reader
        self.size = max(1, window // reader.positions_per_item)
        """Items of a window."""

    def __len__(self) -> int:
        return -(-self._reader.n_items // self.size)

    @property
    def shape(self) -> tuple[int, int]:
        """Items of a window and positions of a batch: they decide the rounding."""
        return self.size, self._batch

    def items(self, window: int) -> Int64[np.ndarray, " item"]:
        """The items of a window, in order."""
        start = window * self.size
        return np.arange(start, min(start + self.size, self._reader.n_items), dtype=np.int64)

    def read(self, items: Int64[np.ndarray, " item"]) -> Float[Tensor, "item position d_in"]:
        """Activations of any items, in their order, up to the longest of them; 0 after the end of an item's batch."""
        lengths = self._reader.lengths(items)
        order = np.argsort(-lengths, kind="stable")
        longest = int(lengths.max())
        out: Tensor | None = None
        start = 0
        while start < len(items):
            width = int(lengths[order[start]])
            part = order[start : start + max(1, self._batch // width)]
            activations = self._reader.forward(items[part])
            if out is None:
                if len(part) == len(items) and (part[1:] > part[:-1]).all():
                    return activations  # in order already
                out = torch.zeros(len(items), longest, activations.shape[2], device=activations.device)
            out[torch.from_numpy(part).to(out.device), : activations.shape[1]] = activations
            start += len(part)
        assert out is not None
        return out
