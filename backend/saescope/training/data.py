"""Batches of a table in the space of training: shuffled epochs, each a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.autoencoders.settings.run import DataSize
from saescope.denoising.corruption import shape_of
from saescope.sources.protocol import ActivationTable
from saescope.sources.targets import CapturedTable, PairedTable
from saescope.training.config import TrainingConfig
from saescope.training.input_transform import InputTransform

CACHE_VALUES = 2**26
"""Tables of up to this many values (256 MB in float32) are transformed once and kept."""


MOST_HELD_OUT, FEWEST_TO_HOLD_OUT_FROM, HELD_OUT_SEED = 1_024, 400, 20_240_711


def data_size(
    table: ActivationTable, description: Mapping[str, Any], configs: Sequence[TrainingConfig] = ()
) -> DataSize:
    """What of the data `table`, from a source of that description, defaults and checks of `configs` look at."""
    values = None
    if any(config.own.needs_values for config in configs):
        seen = representative(table)
        step = max(1, 2**24 // seen.d_in)
        parts = [
            seen.rows(np.arange(i, min(i + step, seen.n_rows), dtype=np.int64)) for i in range(0, seen.n_rows, step)
        ]
        values = (min(float(part.min()) for part in parts), max(float(part.max()) for part in parts))
    return DataSize(table.n_rows, table.d_in, shape_of(description), values)


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


class PairedSample(Sample):
    """Some rows of a table with targets."""

    def __init__(self, table: PairedTable, chosen: Int64[np.ndarray, " chosen"]) -> None:
        super().__init__(table, chosen)
        self._paired, self.d_out = table, table.d_out

    def pairs(self, indices: Int64[np.ndarray, " row"]) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_out"]]:
        return self._paired.pairs(self._chosen[indices])


class CapturedSample(Sample):
    """Some rows of a table of two captures."""

    def __init__(self, table: CapturedTable, chosen: Int64[np.ndarray, " chosen"]) -> None:
        super().__init__(table, chosen)
        self._captured = table

    def captures(
        self, indices: Int64[np.ndarray, " row"]
    ) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_in"]]:
        return self._captured.captures(self._chosen[indices])


def representative(table: ActivationTable) -> ActivationTable:
    """The table itself, or a sample of one that is computed as it is read."""
    if not isinstance(table, StreamedTable):
        return table
    rows = table.sample_rows()
    return PairedSample(table, rows) if isinstance(table, PairedTable) else Sample(table, rows)


def hold_out(table: ActivationTable) -> tuple[ActivationTable, ActivationTable | None]:
    """The table without a few rows, and these, on which a run may see what it does on rows that it is not trained on.

    None are taken from a small table, nor from one that is computed as it is read.
    """
    if isinstance(table, StreamedTable) or table.n_rows < FEWEST_TO_HOLD_OUT_FROM:
        return table, None
    order = np.random.default_rng(HELD_OUT_SEED).permutation(table.n_rows)
    size = min(MOST_HELD_OUT, table.n_rows // 20)
    held_out, rest = np.sort(order[:size]), np.sort(order[size:])
    if isinstance(table, PairedTable):
        return PairedSample(table, rest), PairedSample(table, held_out)
    trained_on = CapturedSample(table, rest) if isinstance(table, CapturedTable) else Sample(table, rest)
    return trained_on, Sample(table, held_out)


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


class Batch(NamedTuple):
    """Rows in the spaces of training."""

    x: Float[Tensor, "batch d_in"]
    targets: Float[Tensor, "batch d_out"] | None = None
    """What a transcoder reconstructs, or a second capture; None: `x` itself."""


class TrainingData:
    """A table seen through an input transform, on a device. Targets, where it has any, are seen through their own."""

    def __init__(
        self,
        table: ActivationTable,
        transform: InputTransform,
        device: torch.device,
        target_transform: InputTransform | None = None,
        held_out: ActivationTable | None = None,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        """`shape` is the height, width and channels of activations that are images."""
        self.table, self.transform, self.device, self.target_transform = table, transform, device, target_transform
        assert (target_transform is not None) == isinstance(table, PairedTable)
        self.shape = shape
        self.held_out: Tensor | None = None
        """Inputs of rows that are not trained on, in the space of training."""
        if held_out is not None:
            every = np.arange(held_out.n_rows, dtype=np.int64)
            self.held_out = transform.apply(held_out.rows(every).to(device))
        self._cached: Batch | None = None
        self.is_captured_twice = isinstance(table, CapturedTable)
        """Whether the targets are a second capture, as good an input as the first."""
        width_of_targets = table.d_in if self.is_captured_twice else self.d_target or 0
        width = table.d_in + width_of_targets
        if table.n_rows * width <= CACHE_VALUES:
            blocks = np.array_split(np.arange(table.n_rows, dtype=np.int64), table.n_rows * width // 2**22 + 1)
            x = torch.empty(table.n_rows, table.d_in, device=device)
            targets = torch.empty(table.n_rows, width_of_targets, device=device) if width_of_targets else None
            for block in blocks:
                part = self._read(block)
                x[block[0] : block[-1] + 1] = part.x
                if targets is not None and part.targets is not None:
                    targets[block[0] : block[-1] + 1] = part.targets
            self._cached = Batch(x, targets)

    @property
    def d_target(self) -> int | None:
        """Width of a target; None where there are none."""
        return self.table.d_out if isinstance(self.table, PairedTable) else None

    @property
    def variance(self) -> float:
        """Mean squared norm of what is reconstructed, centred, in its space of training, per position."""
        return (self.target_transform or self.transform).variance

    @property
    def is_cached(self) -> bool:
        """Whether a batch costs no more than a copy."""
        return self._cached is not None

    def rows(self, indices: Int64[np.ndarray, " batch"]) -> Float[Tensor, "batch d_in"]:
        """Transformed activations at `indices`."""
        return self.batch(indices).x

    def batch(self, indices: Int64[np.ndarray, " batch"]) -> Batch:
        """Transformed activations at `indices`, and their targets."""
        if self._cached is None:
            return self._read(indices)
        chosen = torch.from_numpy(indices).to(self.device)
        x, targets = self._cached
        return Batch(x[chosen], None if targets is None else targets[chosen])

    def _read(self, indices: Int64[np.ndarray, " batch"]) -> Batch:
        if isinstance(self.table, CapturedTable):
            first, second = (self.transform.apply(each.to(self.device)) for each in self.table.captures(indices))
            return Batch(first, second)
        if self.target_transform is None or not isinstance(self.table, PairedTable):
            return Batch(self.transform.apply(self.table.rows(indices).to(self.device)))
        x, targets = self.table.pairs(indices)
        return Batch(self.transform.apply(x.to(self.device)), self.target_transform.apply(targets.to(self.device)))
