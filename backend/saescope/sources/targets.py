"""Sources whose positions have a target beside the input: what a transcoder's output stands for.

A source that has them says so by `d_target`, the width of a target, yields them in its batches and gives tables that
are `PairedTable`s. Others have no such attribute, or None. Shape symbols as in `protocol`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.sources.protocol import ActivationBatch, ActivationTable, Source


def target_width(source: Source) -> int | None:
    """Width of a target; None where a position has none."""
    width: int | None = getattr(source, "d_target", None)
    return width


def flat_targets(batch: ActivationBatch) -> Float[Tensor, "row d_out"] | None:
    """Targets of a batch's evaluated positions, by item then position."""
    if batch.targets is None:
        return None
    flat = batch.targets.flatten(0, 1)
    return flat if batch.mask is None else flat[torch.nonzero(batch.mask.reshape(-1)).squeeze(1)]


@runtime_checkable
class PairedTable(ActivationTable, Protocol):
    """A table whose rows have targets. `rows` gives the inputs alone."""

    @property
    def d_out(self) -> int: ...

    def pairs(self, indices: Int64[np.ndarray, " row"]) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_out"]]:
        """Inputs and targets at `indices`, as `rows`."""
        ...


@runtime_checkable
class CapturedTable(ActivationTable, Protocol):
    """A table whose rows were captured twice, each time with noise of its own. `rows` gives the first capture alone."""

    def captures(
        self, indices: Int64[np.ndarray, " row"]
    ) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_in"]]:
        """Both captures at `indices`, as `rows`."""
        ...


class Targets:
    """The targets of a table, as a table."""

    def __init__(self, table: PairedTable) -> None:
        self._table = table
        self.n_rows, self.d_in = table.n_rows, table.d_out

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_out"]:
        return self._table.pairs(indices)[1]


class SideBySide:
    """Two tables of equal rows: inputs and targets."""

    def __init__(self, inputs: ActivationTable, targets: ActivationTable) -> None:
        assert inputs.n_rows == targets.n_rows
        self._inputs, self._targets = inputs, targets
        self.n_rows, self.d_in, self.d_out = inputs.n_rows, inputs.d_in, targets.d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        return self._inputs.rows(indices)

    def pairs(self, indices: Int64[np.ndarray, " row"]) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_out"]]:
        return self._inputs.rows(indices), self._targets.rows(indices)


class Joined:
    """One table whose rows are an input with its target behind it."""

    def __init__(self, joint: ActivationTable, d_in: int) -> None:
        self._joint = joint
        self.n_rows, self.d_in, self.d_out = joint.n_rows, d_in, joint.d_in - d_in

    def rows(self, indices: Int64[np.ndarray, " row"]) -> Float[Tensor, "row d_in"]:
        return self.pairs(indices)[0]

    def pairs(self, indices: Int64[np.ndarray, " row"]) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "row d_out"]]:
        joint = self._joint.rows(indices)
        return joint[:, : self.d_in], joint[:, self.d_in :]
