"""Positions whose activations are out of all proportion (attention sinks), told by their norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saescope.store.format.source import ExcludedNorm


@dataclass(frozen=True)
class NormLimit:
    """Positions with a norm above `times_median` times the median count in no statistic.

    The median is over the evaluated positions of the first items alone, so that it is known before all are read.
    """

    times_median: float
    median: float
    n_measured: int
    """Positions behind the median."""

    @property
    def threshold(self) -> float:
        return self.times_median * self.median

    def exceeded(self, activations: Float[Tensor, "*position d_in"]) -> Bool[Tensor, "*position"]:
        """Where the norm is above the threshold."""
        return torch.linalg.vector_norm(activations, dim=-1) > self.threshold

    def describe(self) -> ExcludedNorm:
        return ExcludedNorm(
            times_median=self.times_median, median=self.median, threshold=self.threshold, n_measured=self.n_measured
        )


def measure_limit(
    activations: Float[Tensor, "item position d_in"], counts: Bool[np.ndarray, "item position"], times_median: float
) -> NormLimit | None:
    """The limit from some items' activations; None where none of their positions counts."""
    norms = torch.linalg.vector_norm(activations, dim=-1)[torch.from_numpy(counts).to(activations.device)]
    if not len(norms):
        return None
    return NormLimit(times_median, float(norms.double().median()), len(norms))
