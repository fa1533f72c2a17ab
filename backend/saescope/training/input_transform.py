"""The affine map between raw activations and the space that an SAE is trained in, and its folding into the weights.

    t = (x - mean) A          x = t B + mean          A B = identity

* `scale`: A = s I with one number s, so that centred activations have mean norm sqrt(d_in).
* `zca`: A = s W with the whitening matrix W (see `sources.whitening`) and s again for mean norm sqrt(d_in). Its
  epsilon is given as a fraction of the covariance's mean eigenvalue, so that units do not matter.
* `none`: t = x.

All of it depends on the data set only, never on a single input, so it folds into the weights exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.settings.run import TransformKind
from saescope.sources.moments import measure_moments
from saescope.sources.protocol import ActivationTable
from saescope.sources.whitening import whitening_of
from saescope.store.errors import DataError

BLOCK_VALUES = 2**24
"""Values read at a time while fitting (64 MB in float32)."""


@dataclass(frozen=True, eq=False)
class InputTransform:
    """t = (x - mean) A, kept in float64. For `scale` and `none`, A is the number `scale` times the identity."""

    kind: TransformKind
    mean: Float[Tensor, " d_in"]
    scale: float
    matrix: Float[Tensor, "d_in d_in"] | None = None
    """A, where it is no multiple of the identity."""
    inverse: Float[Tensor, "d_in d_in"] | None = None
    """B, likewise."""
    variance: float = 1.0
    """Mean squared norm of centred activations in the space of training, per position."""

    @property
    def is_raw(self) -> bool:
        """Whether t = x."""
        return self.kind == "none"

    def apply(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Raw activations in the space of training, float32."""
        if self.kind == "none":
            return x
        centred = x - self.mean.to(x)
        return centred * self.scale if self.matrix is None else centred @ self.matrix.to(x)

    def invert(self, t: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_in"]:
        """Raw activations from those in the space of training, float32."""
        if self.kind == "none":
            return t
        raw = t / self.scale if self.inverse is None else t @ self.inverse.to(t)
        return raw + self.mean.to(t)

    def fold_encoder(
        self, W_enc: Float[Tensor, "d_in n_features"], subtracts_b_dec: bool
    ) -> tuple[Float[Tensor, "d_in n_features"], Float[Tensor, " n_features"]]:
        """Encoder weights for raw activations (float32), and what its biases must gain for equal codes (float64).

        t W = x (A W) - mean A W. An encoder that subtracts b_dec needs no new bias, since the raw b_dec (see
        `fold_decoder`) holds the mean: (t - b_dec) W = (x - mean - b_dec B) A W.
        """
        folded = W_enc.double() * self.scale if self.matrix is None else self.matrix @ W_enc.double()
        shift = torch.zeros_like(folded[0]) if subtracts_b_dec else -self.mean @ folded
        return folded.float(), shift

    def fold_decoder(
        self, W_dec: Float[Tensor, "n_features d_in"], b_dec: Float[Tensor, " d_in"]
    ) -> tuple[Float[Tensor, "n_features d_in"], Float[Tensor, " d_in"]]:
        """Decoder weights that give raw reconstructions: x_hat = t_hat B + mean."""
        atoms, bias = W_dec.double(), b_dec.double()
        if self.inverse is None:
            return (atoms / self.scale).float(), (bias / self.scale + self.mean).float()
        return (atoms @ self.inverse).float(), (bias @ self.inverse + self.mean).float()

    def tensors(self) -> dict[str, Tensor]:
        """What a training state keeps of it."""
        numbers = torch.tensor([self.scale, self.variance], dtype=torch.float64)
        kept = {"mean": self.mean, "numbers": numbers}
        if self.matrix is not None and self.inverse is not None:
            kept |= {"matrix": self.matrix, "inverse": self.inverse}
        return kept

    @classmethod
    def from_tensors(cls, kind: TransformKind, kept: dict[str, Tensor]) -> InputTransform:
        scale, variance = (float(v) for v in kept["numbers"])
        return cls(kind, kept["mean"], scale, kept.get("matrix"), kept.get("inverse"), variance)


def fit(table: ActivationTable, kind: TransformKind, epsilon: float = 0.01) -> InputTransform:
    """The transform of `kind` for a table. `DataError` where the activations never vary or are not finite."""
    d_in, mean = table.d_in, _mean(table)
    if kind == "zca":
        moments = measure_moments(table)
        whitening = whitening_of(moments, epsilon * max(float(moments.covariance.trace()) / d_in, 1e-30))
        matrix, inverse = torch.from_numpy(whitening.matrix), torch.from_numpy(whitening.inverse)
        norm, square = _mean_norms(table, mean, matrix)
        scale = math.sqrt(d_in) / norm
        return InputTransform(kind, mean, 1.0, matrix * scale, inverse / scale, square * scale**2)
    norm, square = _mean_norms(table, mean, None)
    if kind == "none":
        return InputTransform(kind, torch.zeros_like(mean), 1.0, variance=square)
    scale = math.sqrt(d_in) / norm
    return InputTransform(kind, mean, scale, variance=square * scale**2)


def _mean_norms(table: ActivationTable, mean: Tensor, matrix: Tensor | None) -> tuple[float, float]:
    """Mean norm and mean squared norm of (x - mean) matrix."""
    norm = square = 0.0
    for block in _blocks(table):
        centred = block - mean if matrix is None else (block - mean) @ matrix
        norms = torch.linalg.vector_norm(centred, dim=1)
        norm, square = norm + float(norms.sum()), square + float(norms.square().sum())
    if not square > 1e-20 * table.n_rows:
        raise DataError(
            f"all {table.n_rows} activations are equal, so there is nothing to learn", "give data that vary"
        )
    return norm / table.n_rows, square / table.n_rows


def _mean(table: ActivationTable) -> Float[Tensor, " d_in"]:
    total = torch.zeros(table.d_in, dtype=torch.float64)
    for block in _blocks(table):
        total += block.sum(0)
    if not bool(torch.isfinite(total).all()):
        raise DataError("the activations hold NaN or infinite values", "remove or mask those positions")
    return total / table.n_rows


def _blocks(table: ActivationTable) -> Iterator[Float[Tensor, "row d_in"]]:
    step = max(1, BLOCK_VALUES // table.d_in)
    for start in range(0, table.n_rows, step):
        yield table.rows(np.arange(start, min(start + step, table.n_rows), dtype=np.int64)).double()
