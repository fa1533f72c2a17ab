"""How well an SAE reconstructs, and with how many features.

Let N be the evaluated positions that metrics are taken over, D the dimensions, x an activation (for a transcoder, the
target), x_hat its reconstruction and f its code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from saescope.metrics.registry import Over, define, register
from saescope.metrics.row_sums import RowSums, row_sums


@dataclass
class VarianceSums:
    """Residual and variance of one space, in float64. `shift` keeps the sums small; any value gives the same result."""

    shift: Tensor
    residual: float = 0.0
    squares: float = 0.0
    total: Float64[np.ndarray, " d"] | None = None
    residual_total: Float64[np.ndarray, " d"] | None = None

    def add(self, sums: RowSums) -> None:
        """Add rows by their sums."""
        self.residual += float(sums.residual.sum())
        self.squares += float(sums.centred.sum())
        self.total = sums.columns if self.total is None else self.total + sums.columns
        missed = sums.residual_columns
        self.residual_total = missed if self.residual_total is None else self.residual_total + missed

    def fvu(self, n: int) -> float | None:
        """Fraction of variance unexplained over the `n` rows added; None where the variance is zero."""
        return self._over_variance(self.residual, n)

    def centred_fvu(self, n: int) -> float | None:
        """The same of the residual's variance: its mean does not count."""
        if not n or self.residual_total is None:
            return None
        return self._over_variance(self.residual - float(self.residual_total @ self.residual_total) / n, n)

    def _over_variance(self, part: float, n: int) -> float | None:
        if not n or self.total is None:
            return None
        variance = self.squares - float(self.total @ self.total) / n
        rounding = 1e-12 * self.squares  # below this, what is left is rounding of equal rows
        return part / variance if variance > rounding else None


_SUMS = ("l1", "cosine", "nmse", "l2_ratio", "dot", "squares_rebuilt")
"""Sums over rows that are one number each."""


def _total_ratio(a: Float64[np.ndarray, " row"], b: Float64[np.ndarray, " row"]) -> float:
    """sum a / b over the rows where b is not 0."""
    return float(np.divide(a, b, out=np.zeros_like(a), where=b > 0).sum())


class MetricSums:
    """Running sums of every reconstruction metric. One object sees each metric position once."""

    def __init__(self, d_out: int, whitening: Float[Tensor, "d_in d_in"] | None = None) -> None:
        self.d_out = d_out
        self.whitening = whitening
        self.n = 0
        self.n_firing = 0
        self.l1 = 0.0
        self.cosine = 0.0
        self.nmse = 0.0
        self.l2_ratio = 0.0
        self.dot = 0.0
        self.squares_rebuilt = 0.0
        self.n_zero_inputs = 0
        self.raw: VarianceSums | None = None
        self.transformed: VarianceSums | None = None

    def add(
        self,
        target: Float[Tensor, "row d_out"],
        reconstruction: Float[Tensor, "row d_out"],
        n_firing: int,
        l1: float,
    ) -> None:
        """Add rows: `n_firing` of their code entries fire, `l1` is the sum of |f_j| over all of them."""
        self.take([part.cpu().numpy() for part in self.measure(target, reconstruction)], n_firing, l1)

    def measure(
        self, target: Float[Tensor, "row d_out"], reconstruction: Float[Tensor, "row d_out"]
    ) -> tuple[Tensor, ...]:
        """What `take` adds, on the device of the rows: `row_sums`, and those of the transformed space, if any."""
        if self.raw is None:
            self.raw = VarianceSums(target.mean(0))
        sums = row_sums(target, reconstruction, self.raw.shift)
        if self.whitening is None:
            return sums
        if self.transformed is None:
            self.transformed = VarianceSums(target.mean(0) @ self.whitening)
        return *sums, *row_sums(target @ self.whitening, reconstruction @ self.whitening, self.transformed.shift)

    def take(self, measured: Sequence[np.ndarray], n_firing: int, l1: float) -> None:
        """Add rows that were measured. The first to be measured are the first to be taken."""
        assert self.raw is not None
        sums = RowSums.of(*measured[:2])
        self.raw.add(sums)
        if self.transformed is not None:
            self.transformed.add(RowSums.of(*measured[2:]))
        scale = np.sqrt(sums.norm * sums.norm_rebuilt)
        self.cosine += float(np.divide(sums.dot, scale, out=np.zeros_like(scale), where=scale > 0).sum())
        self.nmse += _total_ratio(sums.residual, sums.norm)
        self.l2_ratio += _total_ratio(np.sqrt(sums.norm_rebuilt), np.sqrt(sums.norm))
        self.dot += float(sums.dot.sum())
        self.squares_rebuilt += float(sums.norm_rebuilt.sum())
        self.n_zero_inputs += int((sums.norm == 0).sum())
        self.n += len(sums.norm)
        self.n_firing += n_firing
        self.l1 += l1

    @property
    def n_compared(self) -> int:
        """Positions added with x other than 0."""
        return self.n - self.n_zero_inputs

    @property
    def mean(self) -> Float[Tensor, " d_out"]:
        """Mean of the targets added, float32."""
        assert self.raw is not None
        assert self.raw.total is not None
        total = torch.from_numpy(self.raw.total).to(self.raw.shift.device)
        return (self.raw.shift.double() + total / self.n).float()

    def values(self, n_features: int) -> dict[str, float | None]:
        """Every metric of reconstruction; None where it is undefined."""
        if not self.n or self.raw is None:
            return {}
        values = {name: value(self, n_features) for name, value in _METRICS.items()}
        if self.transformed is not None:
            values["fvu_transformed"] = self.transformed.fvu(self.n)
        return {name: None if v is None or not math.isfinite(v) else v for name, v in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """All sums, as arrays that `from_dict` takes back exactly."""
        saved: dict[str, Any] = {
            "scalars": np.array([self.n, self.n_firing, self.n_zero_inputs], np.int64),
            "sums": np.array([getattr(self, name) for name in _SUMS], np.float64),
        }
        for name in ("raw", "transformed"):
            sums: VarianceSums | None = getattr(self, name)
            if sums is not None and sums.total is not None and sums.residual_total is not None:
                saved[f"{name}_shift"] = sums.shift.cpu().numpy()
                saved[f"{name}_total"] = np.stack([sums.total, sums.residual_total])
                saved[f"{name}_squares"] = np.array([sums.residual, sums.squares], np.float64)
        return saved

    def restore(self, saved: Mapping[str, np.ndarray], device: torch.device) -> None:
        """Inverse of `to_dict`."""
        self.n, self.n_firing, self.n_zero_inputs = (int(v) for v in saved["scalars"])
        for name, value in zip(_SUMS, saved["sums"], strict=True):
            setattr(self, name, float(value))
        for name in ("raw", "transformed"):
            if f"{name}_shift" in saved:
                residual, squares = (float(v) for v in saved[f"{name}_squares"])
                shift = torch.from_numpy(np.array(saved[f"{name}_shift"])).to(device)
                setattr(self, name, VarianceSums(shift, residual, squares, *np.array(saved[f"{name}_total"])))


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def _explained(fvu: float | None) -> float | None:
    return None if fvu is None else 1 - fvu


def _fvu(sums: VarianceSums | None, n: int) -> float | None:
    return None if sums is None else sums.fvu(n)


def _centred_fvu(sums: VarianceSums | None, n: int) -> float | None:
    return None if sums is None else sums.centred_fvu(n)


def _mse(s: MetricSums) -> float | None:
    return None if s.raw is None else s.raw.residual / (s.n * s.d_out)


_METRICS: dict[str, Callable[[MetricSums, int], float | None]] = define(
    Over.METRIC_POSITIONS,
    {
        "l0": (
            "mean over positions of the number of firing features, |f_j| > firing_threshold",
            lambda s, _: s.n_firing / s.n,
        ),
        "fraction_active": ("l0 / n_features", lambda s, n_features: s.n_firing / s.n / n_features),
        "l1": ("mean over positions of sum_j |f_j|", lambda s, _: s.l1 / s.n),
        "mse": ("mean over positions and dimensions of (x - x_hat)^2, in raw units", lambda s, _: _mse(s)),
        "fvu": (
            "sum ||x - x_hat||^2 / sum ||x - mean(x)||^2, the mean over the same positions, raw space",
            lambda s, _: _fvu(s.raw, s.n),
        ),
        "explained_variance": ("1 - fvu", lambda s, _: _explained(_fvu(s.raw, s.n))),
        "explained_variance_centred": (
            "1 - sum ||e - mean(e)||^2 / sum ||x - mean(x)||^2 with e = x - x_hat: a constant error costs nothing "
            "(dictionary_learning)",
            lambda s, _: _explained(_centred_fvu(s.raw, s.n)),
        ),
        "nmse": (
            "mean over positions of ||x - x_hat||^2 / ||x||^2; positions with x = 0 left out (OpenAI)",
            lambda s, _: _ratio(s.nmse, s.n_compared),
        ),
        "cosine": (
            "mean over positions of cos(x, x_hat); positions with x = 0 left out, x_hat = 0 scores 0",
            lambda s, _: _ratio(s.cosine, s.n_compared),
        ),
        "l2_ratio": (
            "mean over positions of ||x_hat|| / ||x||; positions with x = 0 left out",
            lambda s, _: _ratio(s.l2_ratio, s.n_compared),
        ),
        "relative_reconstruction_bias": (
            "sum ||x_hat||^2 / sum x . x_hat; below 1: reconstructions are too short",
            lambda s, _: _ratio(s.squares_rebuilt, s.dot),
        ),
        "n_zero_inputs": (
            "positions with x = 0, left out of cosine, nmse and l2_ratio",
            lambda s, _: float(s.n_zero_inputs),
        ),
    },
)
"""Name -> the value that sums of one position or more come to for a code of so many features."""

register(
    Over.METRIC_POSITIONS,
    {"fvu_transformed": "fvu after the input transform that the SAE was trained behind"},
)
