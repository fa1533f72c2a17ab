"""The training curve: means over the steps since the last row."""

from __future__ import annotations

import pyarrow as pa
import torch
from torch import Tensor

from saescope.autoencoders.objectives.protocol import StepLoss
from saescope.store.format.schema import schema_of

ROWS = 200
"""Rows of a whole run, about."""


class Curve:
    """Collects a run's numbers without waiting for the device, and gives the store's `training` table.

    Columns besides step and n_examples: `loss`; `fvu` = mean squared error / variance, in the space of training;
    `l0` = firing features per position; `dead_fraction` = features silent for `dead_after` positions; `lr`; and the
    objective's own terms. Each is a mean over the steps since the last row, except dead_fraction and lr.
    """

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // ROWS)
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, loss: StepLoss, variance: float, batch: int) -> None:
        """One step's numbers."""
        numbers = {
            "loss": loss.total.detach(),
            "fvu": loss.squared_error / variance,
            "l0": loss.firing.sum() / batch,
            **loss.terms,
        }
        for name, value in numbers.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.to(torch.float32)
        self._steps += 1

    def close_row(self, step: int, n_examples: int, dead_fraction: float, lr: float) -> dict[str, float]:
        """Ends a row after `step` steps and returns it."""
        row: dict[str, float] = {"step": step, "n_examples": n_examples}
        row |= {name: float(value) / self._steps for name, value in self._sums.items()}
        row |= {"dead_fraction": dead_fraction, "lr": lr}
        self.rows.append(row)
        self._sums, self._steps = {}, 0
        return row

    def table(self) -> pa.Table:
        """All rows so far, as the store's table."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        extra = tuple(pa.field(name, pa.float64()) for name in names if name not in ("step", "n_examples"))
        columns = {name: [row.get(name) for row in self.rows] for name in names}
        return pa.table(columns, schema=schema_of("training", extra))

    def to_json(self) -> dict[str, object]:
        """All of it, for a training state."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {"every": self.every, "rows": self.rows, "sums": sums, "steps": self._steps}

    @classmethod
    def from_json(cls, kept: dict, device: torch.device) -> Curve:
        curve = cls(1)
        curve.every, curve.rows, curve._steps = kept["every"], kept["rows"], kept["steps"]
        curve._sums = {name: torch.tensor(value, device=device) for name, value in kept["sums"].items()}
        return curve
