"""How small free atoms begin.

Small ones, encoder rows too, turn to the data within the first steps and only then compete; random unit atoms compete
at once, as mixtures, and a penalty drives many out before they have turned. But all small ones turn first to where most
of the variance is. Where one direction holds much of it (raw photographs), features become alike, fire together and
part slowly; there atoms begin with norm 1.

Of the variance, the leading direction holds 0.76 in patches of photographs, 0.15 in scikit-learn's digits, 0.10 in
MNIST and in layer 15 of SmolLM2-135M. FVU from norms of 0.1 and of 1, patches (256 features, target L0 16): relu 0.031
and 0.017, gated 0.018 and 0.010, jumprelu 0.017 and 0.010; MNIST (512, target 8): 0.313 and 0.316, 0.241 and 0.244,
0.224 and 0.227, with fewer dead features from 0.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.settings.linear import BY_DATA

SMALL, DOMINANT = 0.1, 1 / 3
"""The norm, where the leading direction holds no more than this fraction of the variance; 1 elsewhere."""
ROUNDS = 30
"""Of power iteration."""


def first_norm(given: float, sample: Float[Tensor, "batch d_in"]) -> float:
    """`given`, or where that is BY_DATA the norm for data like `sample`, which is in the space of training."""
    if given != BY_DATA:
        return given
    return SMALL if leading_share(sample) <= DOMINANT else 1.0


def leading_share(sample: Float[Tensor, "batch d_in"]) -> float:
    """Fraction of the variance along its leading direction, by power iteration: never above it, and near it where one
    direction stands out. 0 where nothing varies."""
    x = sample - sample.mean(0)
    total = float(x.square().sum())
    if total == 0:
        return 0.0
    direction = x[int(x.square().sum(1).argmax())]
    along = 0.0
    for _ in range(ROUNDS):
        direction = direction / torch.linalg.vector_norm(direction)
        ahead = x @ direction
        along, direction = float(ahead.square().sum()), ahead @ x
    return along / total
