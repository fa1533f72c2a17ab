"""Per-input normalisation: each activation by its own mean and spread, which no weights can hold.

    layer_norm    t = (x - m) / (s + 1e-5)        undone: t s + m       m, s: mean and standard deviation (n - 1) of x
    norm          t = x sqrt(d_in) / ||x||        undone: t ||x|| / sqrt(d_in)

Both as in SAELens (`normalize_activations` layer_norm and constant_norm_rescale) and, for layer_norm, OpenAI's TopK
SAEs: the 1e-5 is in the division only. An activation of norm 0 stays 0, and what is undone by it is 0.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

InputNormalization = Literal["none", "layer_norm", "norm"]
EPSILON = 1e-5
SMALLEST_NORM = 1e-30


class Spread(NamedTuple):
    """What one input is normalised by: t = (x - shift) / divisor, and t scale + shift undoes it."""

    shift: Float[Tensor, "batch 1"]
    scale: Float[Tensor, "batch 1"]
    divisor: Float[Tensor, "batch 1"]

    def normalise(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        return (x - self.shift) / self.divisor

    def undo(self, t: Float[Tensor, "batch d_out"]) -> Float[Tensor, "batch d_out"]:
        return t * self.scale + self.shift


def spread_of(x: Float[Tensor, "batch d_in"], kind: InputNormalization) -> Spread:
    """The numbers of each input. `kind` is not 'none'."""
    assert kind != "none"
    if kind == "layer_norm":
        deviation, mean = torch.std_mean(x, dim=1, keepdim=True)
        return Spread(mean, deviation, deviation + EPSILON)
    scale = torch.linalg.vector_norm(x, dim=1, keepdim=True) / math.sqrt(x.shape[1])
    return Spread(torch.zeros_like(scale), scale, scale.clamp(min=SMALLEST_NORM))
