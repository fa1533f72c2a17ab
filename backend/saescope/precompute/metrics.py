"""Summary metrics of an SAE on a source, each written once.

Let N be the evaluated positions that metrics are taken over, D the dimensions, x an activation (for a transcoder, the
target), x_hat its reconstruction and f its code. The formulas stand in `FORMULAS`, under the names that the store uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from saescope.precompute import kernels

PROBE_K = (1, 5, 16)
"""Numbers of features that sparse probes use."""
_MMCS = "mean over the atoms of {} of the largest cosine with an atom of {}"
_PAIRS = "pairs of atoms, one to one, of cosine --match-cosine (0.7) or more and largest sum of cosines,"
_PREDICTIONS = "at every token but a context's last, added and excluded ones too"

FORMULAS: dict[str, str] = {
    "l0": "mean over positions of the number of firing features, |f_j| > firing_threshold",
    "fraction_active": "l0 / n_features",
    "l1": "mean over positions of sum_j |f_j|",
    "mse": "mean over positions and dimensions of (x - x_hat)^2, in raw units",
    "fvu": "sum ||x - x_hat||^2 / sum ||x - mean(x)||^2, the mean over the same positions, raw space",
    "explained_variance": "1 - fvu",
    "explained_variance_centred": "1 - sum ||e - mean(e)||^2 / sum ||x - mean(x)||^2 with e = x - x_hat: a constant "
    "error costs nothing (dictionary_learning)",
    "nmse": "mean over positions of ||x - x_hat||^2 / ||x||^2; positions with x = 0 left out (OpenAI)",
    "cosine": "mean over positions of cos(x, x_hat); positions with x = 0 left out, x_hat = 0 scores 0",
    "l2_ratio": "mean over positions of ||x_hat|| / ||x||; positions with x = 0 left out",
    "relative_reconstruction_bias": "sum ||x_hat||^2 / sum x . x_hat; below 1: reconstructions are too short",
    "n_zero_inputs": "positions with x = 0, left out of cosine, nmse and l2_ratio",
    "fvu_transformed": "fvu after the input transform that the SAE was trained behind",
    "n_dead": "features that fire at none of the positions",
    "dead_fraction": "n_dead / n_features",
    "n_dense": "features with density > 0.1",
    "ce_clean": f"mean over predictions of -log p(next token), the model as it is, nats; {_PREDICTIONS}",
    "ce_sae": "ce_clean with x_hat in place of x at every evaluated position; others keep x",
    "ce_zero": "ce_clean with 0 in place of x at every evaluated position; others keep x",
    "ce_mean": "ce_clean with mean(x), as in fvu, in place of x at every evaluated position; others keep x",
    "ce_recovered": "(ce_zero - ce_sae) / (ce_zero - ce_clean)",
    "ce_recovered_mean": "(ce_mean - ce_sae) / (ce_mean - ce_clean)",
    "kl": "mean over predictions of KL(p_clean || p_sae), nats",
    "kl_zero": "kl with the zero ablation of ce_zero in place of the SAE",
    "kl_recovered": "(kl_zero - kl) / kl_zero",
    "consistent_activation": "mean over features that fire of firing positions / items in which they fire, over all "
    "positions; for items of several positions",
    "max_atom_cosine": "mean over features of the largest cosine of its atom with another feature's",
    "max_encoder_cosine": "mean over features of the largest cosine of its encoder row with another feature's",
    "mmcs_to_other": _MMCS.format("this SAE", "the other"),
    "mmcs_from_other": _MMCS.format("the other SAE", "this one"),
    "n_matched_with_other": f"{_PAIRS} of this SAE and the other",
    "n_unmatched_here": "this SAE's atoms in no such pair",
    "n_unmatched_there": "the other SAE's atoms in no such pair",
    "mmcs_true_to_learned": _MMCS.format("the true dictionary", "the SAE"),
    "mmcs_learned_to_true": _MMCS.format("the SAE", "the true dictionary"),
    "n_true_matched": f"{_PAIRS} of the true dictionary and the SAE",
    "n_true_unmatched": "true features in no such pair",
    "n_learned_unmatched": "the SAE's atoms in no such pair",
    **{
        f"probe_auc_k{k}": f"area under the ROC curve, on one half of the items, of a logistic regression on the {k} "
        "features whose mean item codes differ most on the other half; by column and value, or the values' mean"
        for k in PROBE_K
    },
    "absorption_full": "fraction of the words that a first-letter probe finds, among tokens that it was not fitted on, "
    "where no main feature of the letter fires and the feature that adds most to x . probe adds 0.4 of it or more; by "
    "letter, or the letters' mean",
    "absorption_fraction": "mean over the same words of the part of x . probe that up to 3 other features have taken "
    "over from the main ones; by letter, or the letters' mean",
    "absorption_split": "main features of a letter: k-sparse probes grow while one more raises F1 by more than 0.03; "
    "by letter, or the letters' mean",
    "absorption_probe_f1": "F1 of the letter's probe on tokens that it was not fitted on; none where too few tokens "
    "begin with the letter; by letter, or the letters' mean",
    "absorption_letters": "letters that absorption is measured on: with enough tokens, a probe of F1 above 0.6 and a "
    "feature that speaks for them",
}


def formula(metric: str) -> str:
    """The formula of a metric; what follows a dot in its name says what it was measured on."""
    return FORMULAS[metric.partition(".")[0]]


DENSE_DENSITY = 0.1
"""A feature with a larger density is called dense."""


class RowSums(NamedTuple):
    """What reconstruction metrics are made of, in float64: five numbers per row, and two per column."""

    residual: Float64[np.ndarray, " row"]
    """||x - x_hat||^2"""
    centred: Float64[np.ndarray, " row"]
    """||x - shift||^2"""
    dot: Float64[np.ndarray, " row"]
    """x . x_hat"""
    norm: Float64[np.ndarray, " row"]
    """||x||^2"""
    norm_rebuilt: Float64[np.ndarray, " row"]
    """||x_hat||^2"""
    columns: Float64[np.ndarray, " d"]
    """sum over rows of x - shift"""
    residual_columns: Float64[np.ndarray, " d"]
    """sum over rows of x - x_hat"""


def row_sums(x: Float[Tensor, "row d"], rebuilt: Float[Tensor, "row d"], shift: Float[Tensor, " d"]) -> RowSums:
    """Sums of a block, on whichever device it lies."""
    if x.device.type == "cpu":
        per_row, columns = np.empty((len(x), 5)), np.zeros((2, x.shape[1]))
        kernels.row_sums(x.contiguous().numpy(), rebuilt.contiguous().numpy(), shift.numpy(), per_row, columns)
        residual, squares, dot, norm, norm_rebuilt = per_row.T
        return RowSums(residual, squares, dot, norm, norm_rebuilt, *columns)
    wide, other = x.double(), rebuilt.double()
    centred, missed = wide - shift.double(), wide - other
    return RowSums(
        residual=_dots(missed, missed),
        centred=_dots(centred, centred),
        dot=_dots(wide, other),
        norm=_dots(wide, wide),
        norm_rebuilt=_dots(other, other),
        columns=centred.sum(0).cpu().numpy(),
        residual_columns=missed.sum(0).cpu().numpy(),
    )


def _dots(a: Float[Tensor, "row d"], b: Float[Tensor, "row d"]) -> Float64[np.ndarray, " row"]:
    dots: Float64[np.ndarray, " row"] = torch.linalg.vecdot(a, b).cpu().numpy()
    return dots


@dataclass
class VarianceSums:
    """Residual and variance of one space, in float64. `shift` keeps the sums small; any value gives the same result."""

    shift: Tensor
    residual: float = 0.0
    squares: float = 0.0
    total: Float64[np.ndarray, " d"] | None = None
    residual_total: Float64[np.ndarray, " d"] | None = None

    def add(self, x: Float[Tensor, "row d"], rebuilt: Float[Tensor, "row d"]) -> RowSums:
        """Add rows; returns their sums."""
        sums = row_sums(x, rebuilt, self.shift)
        self.residual += float(sums.residual.sum())
        self.squares += float(sums.centred.sum())
        self.total = sums.columns if self.total is None else self.total + sums.columns
        missed = sums.residual_columns
        self.residual_total = missed if self.residual_total is None else self.residual_total + missed
        return sums

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
        if self.raw is None:
            self.raw = VarianceSums(target.mean(0))
        sums = self.raw.add(target, reconstruction)
        if self.whitening is not None:
            if self.transformed is None:
                self.transformed = VarianceSums(target.mean(0) @ self.whitening)
            self.transformed.add(target @ self.whitening, reconstruction @ self.whitening)
        scale = np.sqrt(sums.norm * sums.norm_rebuilt)
        self.cosine += float(np.divide(sums.dot, scale, out=np.zeros_like(scale), where=scale > 0).sum())
        self.nmse += _total_ratio(sums.residual, sums.norm)
        self.l2_ratio += _total_ratio(np.sqrt(sums.norm_rebuilt), np.sqrt(sums.norm))
        self.dot += float(sums.dot.sum())
        self.squares_rebuilt += float(sums.norm_rebuilt.sum())
        self.n_zero_inputs += int((sums.norm == 0).sum())
        self.n += len(target)
        self.n_firing += n_firing
        self.l1 += l1

    @property
    def mean(self) -> Float[Tensor, " d_out"]:
        """Mean of the targets added, float32."""
        assert self.raw is not None
        assert self.raw.total is not None
        total = torch.from_numpy(self.raw.total).to(self.raw.shift.device)
        return (self.raw.shift.double() + total / self.n).float()

    def values(self, n_features: int) -> dict[str, float | None]:
        """Every metric of reconstruction but the counts of dead and dense features; None where it is undefined."""
        if not self.n or self.raw is None:
            return {}
        fvu, centred = self.raw.fvu(self.n), self.raw.centred_fvu(self.n)
        compared = self.n - self.n_zero_inputs
        values: dict[str, float | None] = {
            "l0": self.n_firing / self.n,
            "fraction_active": self.n_firing / self.n / n_features,
            "l1": self.l1 / self.n,
            "mse": self.raw.residual / (self.n * self.d_out),
            "fvu": fvu,
            "explained_variance": None if fvu is None else 1 - fvu,
            "explained_variance_centred": None if centred is None else 1 - centred,
            "nmse": self.nmse / compared if compared else None,
            "cosine": self.cosine / compared if compared else None,
            "l2_ratio": self.l2_ratio / compared if compared else None,
            "relative_reconstruction_bias": self.squares_rebuilt / self.dot if self.dot else None,
            "n_zero_inputs": float(self.n_zero_inputs),
        }
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


def dead_bound(n_positions: int, confidence: float = 0.95) -> float:
    """One-sided upper bound on the density of a feature that fired at none of N independent positions:
    1 - (1 - confidence)^(1/N), about 3/N at 95 % (the exact binomial bound of Clopper and Pearson 1934)."""
    return 1.0 if n_positions < 1 else -math.expm1(math.log1p(-confidence) / n_positions)
