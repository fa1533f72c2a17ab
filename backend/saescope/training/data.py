"""Batches of a table in the space of training: shuffled epochs, each a function of the seed and the step alone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.sources.protocol import ActivationTable
from saescope.training.input_transform import InputTransform

CACHE_VALUES = 2**26
"""Tables of up to this many values (256 MB in float32) are transformed once and kept."""


class Order(Protocol):
    """The rows in the order of an epoch."""

    def __getitem__(self, span: slice, /) -> Int64[np.ndarray, " row"]: ...


@runtime_checkable
class StreamedTable(ActivationTable, Protocol):
    """A table whose rows are computed as they are needed, cheaply only in an order of its own."""

    def epoch_order(self, seed: int, epoch: int) -> Order:
        """A shuffled order of all rows, a function of the seed and the epoch alone."""
        ...

    def sample_rows(self) -> Int64[np.ndarray, " row"]:
        """Rows that stand for all where reading all costs too much."""
        ...


class Sample:
    """Some rows of a table, as a table."""

    def __init__(self, table: ActivationTable, chosen: Int64[np.ndarray, " chosen"]) -> None:
        self._table, self._chosen = table, chosen
        self.n_rows, self.d_in = len(chosen), table.d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        return self._table.rows(self._chosen[indices])


def representative(table: ActivationTable) -> ActivationTable:
    """The table itself, or a sample of one that is computed as it is read."""
    return Sample(table, table.sample_rows()) if isinstance(table, StreamedTable) else table


class Shuffle:
    """Endless epochs over a table's rows, each in its own order; a batch may span two."""

    def __init__(self, table: ActivationTable, batch_size: int, seed: int) -> None:
        self.table, self.n_rows, self.batch_size, self.seed = table, table.n_rows, batch_size, seed
        self._orders: dict[int, Order] = {}

    def indices(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Rows of the batch at `step`."""
        start = step * self.batch_size
        parts, end = [], start + self.batch_size
        while start < end:
            epoch, offset = divmod(start, self.n_rows)
            part = self._order(epoch)[offset : offset + end - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _order(self, epoch: int) -> Order:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            if isinstance(self.table, StreamedTable):
                self._orders[epoch] = self.table.epoch_order(self.seed, epoch)
            else:
                self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(self.n_rows)
        return self._orders[epoch]


class TrainingData:
    """A table seen through an input transform, on a device."""

    def __init__(self, table: ActivationTable, transform: InputTransform, device: torch.device) -> None:
        self.table, self.transform, self.device = table, transform, device
        self._cached: Tensor | None = None
        if table.n_rows * table.d_in <= CACHE_VALUES:
            blocks = np.array_split(np.arange(table.n_rows, dtype=np.int64), table.n_rows * table.d_in // 2**22 + 1)
            kept = torch.empty(table.n_rows, table.d_in, device=device)
            for block in blocks:
                kept[block[0] : block[-1] + 1] = transform.apply(table.rows(block).to(device))
            self._cached = kept

    @property
    def is_cached(self) -> bool:
        """Whether a batch costs no more than a copy."""
        return self._cached is not None

    def rows(self, indices: Int64[np.ndarray, " batch"]) -> Float[Tensor, "batch d_in"]:
        """Transformed activations at `indices`."""
        if self._cached is not None:
            return self._cached[torch.from_numpy(indices).to(self.device)]
        return self.transform.apply(self.table.rows(indices).to(self.device))
