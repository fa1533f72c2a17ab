"""What decides a training run. None means: chosen by the objective from the size of the data (see `resolve`)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from saescope.autoencoders import architecture
from saescope.store.errors import UserError
from saescope.training.input_transform import TransformKind

Reduction = Literal["sum", "mean"]
Revival = Literal["auxk", "resample", "both", "none"]
DecoderNorm = Literal["unit", "free"]
L1Weighting = Literal["none", "decoder_norm"]
SPARSITY = ("k", "l1", "rho")
"""Fields that decide how sparse a code is; an architecture takes one of them."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run. The same config, data and device kind give the same weights, bit for bit."""

    architecture: str
    """Name of the architecture: relu, kl, topk, ..."""
    n_features: int
    """Width of the code."""
    k: int | None = None
    """topk: features kept per position."""
    l1: float | None = None
    """relu: weight of sum_j |f_j| beside sum (x - x_hat)^2, per position, in the space of training."""
    rho: float | None = None
    """kl: target of each feature's mean activation, strictly between 0 and 1."""
    seed: int = 0
    """Of the initial weights, the order of the data and every draw."""
    steps: int | None = None
    """Optimiser steps."""
    batch_size: int | None = None
    """Positions per step."""
    lr: float | None = None
    """Peak learning rate of Adam."""
    bias_rate: float | None = None
    """Learning rate of b_enc over that of all other weights."""
    lr_warmup: float | None = None
    """Fraction of the steps over which the rate rises linearly from 0."""
    lr_decay: float | None = None
    """Fraction of the steps, at the end, over which the rate falls linearly to 0."""
    adam_beta1: float = 0.9
    """Decay of Adam's mean of gradients, per step."""
    adam_beta2: float = 0.999
    """Decay of Adam's mean of squared gradients, per step."""
    adam_epsilon: float = 1e-8
    """Added to the root of Adam's mean of squared gradients."""
    grad_clip: float | None = None
    """Largest norm of the gradient of all weights together; 0 = no clipping."""
    weight_decay: float | None = None
    """Of the two matrices, in the loss: weight_decay / 2 times the sum of their squares."""
    input_transform: TransformKind | None = None
    """Space to train in: `scale` (centred, mean norm sqrt(d_in)), `zca` (whitened) or `none` (raw)."""
    zca_epsilon: float = 0.01
    """Added to each eigenvalue of the covariance, as a fraction of their mean."""
    decoder_norm: DecoderNorm | None = None
    """`unit`: atoms keep norm 1, their gradient along themselves is removed. `free`: neither."""
    tied: bool = False
    """Whether the encoder is the transposed decoder throughout training."""
    apply_b_dec_to_input: bool = False
    """Whether b_dec is subtracted from the input before encoding."""
    skip: bool = False
    """Transcoders: whether the output has a linear path from the input beside the features."""
    l1_reduction: Reduction = "sum"
    """relu: `mean` is the textbook form, both terms averaged over their dimensions, on raw inputs."""
    l1_weighting: L1Weighting = "none"
    """relu: `decoder_norm` weighs each |f_j| by the norm of its atom (Anthropic, April 2024)."""
    l1_warmup: float | None = None
    """relu: fraction of the steps over which the penalty's weight rises linearly from 0."""
    refit: float | None = None
    """relu: fraction of the steps, at the end, that fit the decoder without penalty while the codes' support is kept.
    Undoes the shrinkage that the penalty causes; which features fire is not changed by it."""
    kl_weight: float | None = None
    """kl: weight of sum_j KL(rho || mean activation of j) beside sum (x - x_hat)^2 / 2 per position."""
    revival: Revival | None = None
    """What brings dead features back: `auxk` (topk), `resample`, `both` (topk) or `none`."""
    dead_after: int | None = None
    """Positions without firing after which a feature counts as dead in training."""
    aux_weight: float | None = None
    """auxk: weight of the auxiliary loss."""
    aux_k: int | None = None
    """auxk: most dead features used per position."""
    resample_every: int | None = None
    """resample: steps between two rounds."""
    resample_until: float | None = None
    """resample: fraction of the steps after which no round takes place."""

    def __post_init__(self) -> None:
        architecture(self.architecture)
        if self.n_features < 1:
            raise UserError(f"n_features is {self.n_features}; an SAE needs at least 1 feature", "give --n-features")
        self._check_sparsity()
        for name in ("steps", "batch_size", "dead_after", "aux_k", "resample_every"):
            _at_least(self, name, 1)
        for name in ("lr", "bias_rate", "zca_epsilon", "adam_epsilon"):
            _above(self, name, 0)
        for name in ("grad_clip", "weight_decay", "aux_weight", "kl_weight", "seed"):
            _at_least(self, name, 0)
        for name in ("lr_warmup", "lr_decay", "l1_warmup", "refit", "resample_until", "adam_beta1", "adam_beta2"):
            _fraction(self, name)
        if (self.lr_warmup or 0) + (self.lr_decay or 0) > 1:
            raise UserError(
                f"lr_warmup {self.lr_warmup} and lr_decay {self.lr_decay} together exceed the whole training",
                "they are fractions of the steps",
            )
        self._check_combinations()

    def _check_sparsity(self) -> None:
        own = {"topk": "k", "relu": "l1", "kl": "rho"}
        given = [name for name in SPARSITY if getattr(self, name) is not None]
        expected = own.get(self.architecture)
        if expected is not None and given != [expected]:
            got = " and ".join(f"--{name}" for name in given) if given else "none"
            raise UserError(f"{self.architecture} takes one sparsity setting, --{expected}; {got} given")
        if self.k is not None and not 1 <= self.k <= self.n_features:
            raise UserError(f"k is {self.k}, but must lie between 1 and n_features, {self.n_features}")
        if self.l1 is not None and not (math.isfinite(self.l1) and self.l1 >= 0):
            raise UserError(f"l1 is {self.l1}; a penalty's weight is finite and not negative")
        if self.rho is not None and not 0 < self.rho < 1:
            raise UserError(f"rho is {self.rho}, but a target rate lies strictly between 0 and 1", "try 0.05")

    def _check_combinations(self) -> None:
        if self.l1_reduction == "mean" and self.architecture != "relu":
            raise UserError(f"--l1-reduction mean is a form of relu's penalty; {self.architecture} has none")
        if self.l1_reduction == "mean" and self.input_transform not in (None, "none"):
            raise UserError(
                f"--l1-reduction mean takes raw inputs, but the input transform is {self.input_transform!r}",
                "use the summed form with whitening",
            )
        if self.l1_weighting == "decoder_norm" and self.decoder_norm == "unit":
            raise UserError("weighting by decoder norms makes no difference with unit norms", "use a free decoder")
        if self.skip and self.tied:
            raise UserError("a skip term is for transcoders, whose weights cannot be tied", "leave --tied out")
        if self.tied and self.refit:
            raise UserError("a refit frees the decoder from the encoder, which tied weights forbid", "use refit 0")
        fitting = {
            "topk": ("auxk", "resample", "both", "none"),
            "relu": ("resample", "none"),
            "kl": ("resample", "none"),
        }
        allowed = fitting.get(self.architecture)
        if self.revival is not None and allowed is not None and self.revival not in allowed:
            raise UserError(f"{self.architecture} revives by {' or '.join(allowed)}, not by {self.revival}")

    @property
    def sparsity(self) -> tuple[str, float]:
        """Name and value of the setting that decides how sparse the code is."""
        for name in SPARSITY:
            value = getattr(self, name)
            if value is not None:
                return name, value
        raise AssertionError("an architecture without a sparsity setting")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)

    def filled(self, **defaults: Any) -> TrainingConfig:
        """With `defaults` in place of fields that are None."""
        return replace(self, **{name: v for name, v in defaults.items() if getattr(self, name) is None})


@dataclass(frozen=True)
class Recipe(TrainingConfig):
    """A `TrainingConfig` whose defaults are all filled in (fields mean the same; unused ones hold 0, 1 or none)."""

    steps: int = 1
    batch_size: int = 1
    lr: float = 1e-3
    bias_rate: float = 1.0
    lr_warmup: float = 0.0
    lr_decay: float = 0.0
    grad_clip: float = 0.0
    weight_decay: float = 0.0
    input_transform: TransformKind = "scale"
    decoder_norm: DecoderNorm = "unit"
    l1_warmup: float = 0.0
    refit: float = 0.0
    kl_weight: float = 0.0
    revival: Revival = "none"
    dead_after: int = 1
    aux_weight: float = 0.0
    aux_k: int = 1
    resample_every: int = 1
    resample_until: float = 0.0

    @classmethod
    def of(cls, config: TrainingConfig) -> Recipe:
        """`config` as a recipe, once every field is filled."""
        open_fields = [f.name for f in fields(cls) if f.name not in SPARSITY and getattr(config, f.name) is None]
        assert not open_fields, f"no default for {open_fields}"
        return cls(**{f.name: getattr(config, f.name) for f in fields(cls)})


def _at_least(config: TrainingConfig, name: str, low: float) -> None:
    value = getattr(config, name)
    if value is not None and not (math.isfinite(value) and value >= low):
        raise UserError(f"{name} is {value}, expected at least {low}")


def _above(config: TrainingConfig, name: str, low: float) -> None:
    value = getattr(config, name)
    if value is not None and not (math.isfinite(value) and value > low):
        raise UserError(f"{name} is {value}, expected more than {low}")


def _fraction(config: TrainingConfig, name: str) -> None:
    value = getattr(config, name)
    if value is not None and not 0 <= value <= 1:
        raise UserError(f"{name} is {value}, expected a fraction between 0 and 1")
