"""BatchTopK (Bussmann et al. 2024): of a batch's positive pre-activations the k x batch largest are kept.

The loss is that of `auxk`. For use, one threshold takes the place of the batch. In training the model's is a running
mean of the smallest kept value (rate THRESHOLD_RATE, from the first step's); at the end it is set so that exactly k
features per position exceed it, on average over rows held out from training: on rows that were trained on fewer
features pass a threshold than on new ones. Where none can be held out, a sample of all serves.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saescope.autoencoders.batchtopk.module import BatchtopkAutoencoder, BatchtopkConfig
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives.auxk import AuxkObjective, AuxkOwn
from saescope.autoencoders.objectives.order_statistic import exceeded_by
from saescope.autoencoders.objectives.processes import ALONE, Processes
from saescope.autoencoders.objectives.protocol import StepLoss

BatchtopkModel = TypeVar("BatchtopkModel", bound=BatchtopkAutoencoder)

THRESHOLD_RATE = 0.01
"""How fast the running threshold follows, per step."""
CANDIDATES = 0.7
"""Only values above this fraction of the running threshold are looked at first: nearly always all that are kept."""
BLOCK_ROWS = 1024
"""Positions encoded at a time for the final threshold."""


class BatchtopkObjective(AuxkObjective[BatchtopkModel, AuxkOwn]):
    """Keeps the k x batch largest positive pre-activations of the batch (and those that equal the smallest kept)."""

    needs_held_out_rows = True

    def new_model(self, d_in: int) -> BatchtopkModel:
        return cast(BatchtopkModel, BatchtopkAutoencoder(BatchtopkConfig(**self.fields(d_in), k=self.k)))

    def choose(self, model: BatchtopkModel, z: Float[Tensor, "batch n_features"]) -> Bool[Tensor, "batch n_features"]:
        count = self.k * z.shape[0] * self.processes.size
        return kept(z, count, CANDIDATES * float(model.threshold.detach()), self.processes)

    def after_step(self, model: BatchtopkModel, loss: StepLoss) -> None:
        """Moves the running threshold."""
        smallest = loss.terms.get("threshold")
        if smallest is None:
            return
        with torch.no_grad():
            if model.is_calibrated:
                model.threshold.lerp_(smallest, THRESHOLD_RATE)
            else:
                model.threshold.copy_(smallest)

    def terms(self, values: Tensor) -> dict[str, Tensor]:
        """The smallest positive value kept."""
        positive = values[values > 0]
        smallest = self.processes.smallest(positive.min() if len(positive) else values.new_tensor(math.inf))
        return {"threshold": smallest.float()} if math.isfinite(smallest) else {}

    def finish(self, model: BatchtopkModel, sample: Float[Tensor, "batch d_in"]) -> None:
        """Sets the threshold that k values per position of the sample exceed."""
        with torch.no_grad():
            model.threshold.fill_(exact_threshold(model, sample, self.k))


def kept(
    z: Float[Tensor, "batch n_features"], count: int, likely: float = 0.0, processes: Processes = ALONE
) -> Bool[Tensor, "batch n_features"]:
    """Places of the `count` largest positive values, and of all that equal the smallest of them.

    Fewer where fewer are positive. `likely` is a guess below the smallest kept value: it saves time, nothing else. With
    several `processes`, `z` is this one's part of a batch, and values are counted over all of it.
    """
    floor = max(likely, 0.0)
    mask = z > floor
    values = processes.gathered(z[mask])
    if len(values) < count and floor > 0:
        mask = z > 0
        values = processes.gathered(z[mask])
    if len(values) <= count:
        return mask
    smallest = torch.kthvalue(values, len(values) - count + 1).values
    return z >= smallest


def exact_threshold(model: LinearAutoencoder, sample: Float[Tensor, "batch d_in"], k: int) -> float:
    """The value that `k` pre-activations per position of the sample exceed, on average; 0 where fewer are positive."""
    blocks = (model.pre_activations(rows).detach() for rows in sample.split(BLOCK_ROWS))
    return exceeded_by(blocks, k * sample.shape[0])
