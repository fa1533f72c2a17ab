"""What decides a training run. None means: chosen by the objective from the size of the data (see `resolve`)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from saescope.autoencoders import architecture
from saescope.store.errors import UserError
from saescope.training.input_transform import TransformKind

if TYPE_CHECKING:
    from saescope.training.objectives import GeneralObjective

Reduction = Literal["sum", "mean"]
Revival = Literal["auxk", "resample", "both", "pre_activation", "none"]
DecoderNorm = Literal["unit", "free"]
L1Weighting = Literal["none", "decoder_norm"]
GateDecoder = Literal["held", "learns"]
L0Penalty = Literal["step", "tanh"]
Preset = Literal["2023", "april2024"]
FirstBias = Literal["mean", "geometric_median"]
SPARSITY = ("k", "l1", "l0_weight", "rho", "target_l0")
"""Fields that decide how sparse a code is; a run has one of them: its architecture's own, or the target."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run. The same config, data and device kind give the same weights, bit for bit."""

    architecture: str
    """Name of the architecture: relu, kl, topk, ..."""
    n_features: int
    """Width of the code."""
    k: int | None = None
    """topk and its kin, deep: features kept per position (batchtopk, matryoshka: on average)."""
    l1: float | None = None
    """relu, gated: weight of sum_j |f_j| (gated: of the gates' positive parts) beside sum (x - x_hat)^2, per position,
    in the space of training."""
    l0_weight: float | None = None
    """jumprelu: weight of the number of firing features beside sum (x - x_hat)^2, per position, in that space."""
    rho: float | None = None
    """kl: target of each feature's mean activation, strictly between 0 and 1."""
    target_l0: float | None = None
    """Instead of the above: firing features per position to arrive at (see `training.target`)."""
    recipe: Preset | None = None
    """relu: defaults as published instead of ours: `2023` (Bricken et al.) or `april2024` (Conerly et al.)."""
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
    first_norm: float | None = None
    """Norm of the atoms before the first step; 0 = 0.1, or 1 where one direction has much of the data's variance."""
    first_b_dec: FirstBias | None = None
    """b_dec before the first step: the `mean` of a sample of the data, or its `geometric_median`."""
    autocast: bool = False
    """CUDA: matrix products of the loss in bfloat16. Weights, their gradients and moments stay float32; codes are
    rounded to 8 bits, and so may be equal where they were not."""
    tied: bool = False
    """Whether the encoder is the transposed decoder throughout training."""
    apply_b_dec_to_input: bool = False
    """Whether b_dec is subtracted from the input before encoding."""
    skip: bool = False
    """Transcoders: whether the output has a linear path from the input beside the features."""
    l1_reduction: Reduction = "sum"
    """relu: `mean` is the textbook form, both terms averaged over their dimensions, on raw inputs."""
    l1_weighting: L1Weighting | None = None
    """relu, gated: `decoder_norm` weighs each |f_j| by the norm of its atom (Anthropic, April 2024)."""
    gate_decoder: GateDecoder | None = None
    """gated: whether the decoder `learns` from what the gates reconstruct by themselves (SAELens), or is `held`
    fixed in that term (Rajamanoharan et al. 2024)."""
    l1_warmup: float | None = None
    """relu, gated, jumprelu: fraction of the steps over which the penalty's weight rises linearly from 0."""
    refit: float | None = None
    """relu: fraction of the steps, at the end, that fit the decoder without penalty while the codes' support is kept.
    Undoes the shrinkage that the penalty causes; which features fire is not changed by it."""
    p_end: float = 1.0
    """relu: exponent of |f_j| in the penalty that the run ends with; it falls from 1 (p-annealing, Karvonen et al.)."""
    p_from: float = 0.3
    """relu: fraction of the steps at which the exponent begins to fall."""
    l0_penalty: L0Penalty = "step"
    """jumprelu: `step` counts firing features, `tanh` is Anthropic's smooth form (January 2025)."""
    bandwidth: float | None = None
    """jumprelu: width of the window around a threshold in which pre-activations give it a gradient."""
    initial_threshold: float | None = None
    """jumprelu: all thresholds before the first step, and of resampled features."""
    tanh_scale: float | None = None
    """jumprelu: c in tanh(c |f_j| ||atom j||)."""
    pre_activation_weight: float | None = None
    """jumprelu: weight of what pulls dead features' pre-activations up to their thresholds."""
    group_sizes: tuple[int, ...] | None = None
    """matryoshka: features of each nested group, from the most general; they add up to n_features."""
    encoder_widths: tuple[int, ...] | None = None
    """deep: widths of the hidden layers between input and code, in that order; () = none."""
    decoder_widths: tuple[int, ...] | None = None
    """deep: widths of the hidden layers between code and output, in that order; () = none."""
    kl_weight: float | None = None
    """kl: weight of sum_j KL(rho || mean activation of j) beside sum (x - x_hat)^2 / 2 per position."""
    revival: Revival | None = None
    """What brings dead features back: `auxk` (topk and its kin), `resample`, `both` of these, `pre_activation`
    (jumprelu) or `none`."""
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
        self._check_combinations()
        for name in ("steps", "batch_size", "dead_after", "aux_k", "resample_every"):
            _at_least(self, name, 1)
        for name in (
            "lr",
            "bias_rate",
            "zca_epsilon",
            "adam_epsilon",
            "bandwidth",
            "tanh_scale",
            "p_end",
        ):
            _above(self, name, 0)
        for name in (
            "grad_clip",
            "first_norm",
            "weight_decay",
            "aux_weight",
            "kl_weight",
            "seed",
            "initial_threshold",
            "pre_activation_weight",
        ):
            _at_least(self, name, 0)
        for name in ("lr_warmup", "lr_decay", "l1_warmup", "refit", "resample_until", "adam_beta1", "adam_beta2"):
            _fraction(self, name)
        for name in ("p_end", "p_from"):
            _fraction(self, name)
        if (self.lr_warmup or 0) + (self.lr_decay or 0) > 1:
            raise UserError(
                f"lr_warmup {self.lr_warmup} and lr_decay {self.lr_decay} together exceed the whole training",
                "they are fractions of the steps",
            )
        self._objective.check(self)

    def _check_sparsity(self) -> None:
        own = (self._objective.sparsity, *self._objective.alternatives)
        given = [name for name in SPARSITY if getattr(self, name) is not None]
        if given not in [[name] for name in (*own, "target_l0")]:
            got = " and ".join(_flag(name) for name in given) if given else "none"
            raise UserError(
                f"{self.architecture} takes one sparsity setting, {' or '.join(map(_flag, own))}; {got} given",
                f"or say the L0 to arrive at, with {_flag('target_l0')}",
            )
        if self.k is not None and not 1 <= self.k <= self.n_features:
            raise UserError(f"k is {self.k}, but must lie between 1 and n_features, {self.n_features}")
        for name in ("l1", "l0_weight"):
            weight = getattr(self, name)
            if weight is not None and not (math.isfinite(weight) and weight >= 0):
                raise UserError(f"{name} is {weight}; a penalty's weight is finite and not negative")
        if self.rho is not None and not 0 < self.rho < 1:
            raise UserError(f"rho is {self.rho}, but a target rate lies strictly between 0 and 1", "try 0.05")
        if self.target_l0 is not None and not 0 < self.target_l0 <= self.n_features:
            raise UserError(
                f"target_l0 is {self.target_l0}, but an L0 lies between 0 and n_features, {self.n_features}"
            )

    def _check_combinations(self) -> None:
        from saescope.training.objectives import objectives

        for field in () if isinstance(self, Recipe) else fields(self):
            if getattr(self, field.name) == field.default or field.name in self._objective.own_settings:
                continue
            owners = [name for name, each in objectives().items() if field.name in each.own_settings]
            if owners:
                raise UserError(
                    f"{_flag(field.name)} is a setting of {' and '.join(owners)}; {self.architecture} has no use for it"
                )
        allowed = self._objective.revivals
        if self.revival is not None and self.revival not in allowed:
            raise UserError(f"{self.architecture} revives by {' or '.join(allowed)}, not by {self.revival}")
        if self.l1_weighting == "decoder_norm" and self.decoder_norm == "unit":
            raise UserError("weighting by decoder norms makes no difference with unit norms", "use a free decoder")
        if self.skip and self.tied:
            raise UserError("a skip term is for transcoders, whose weights cannot be tied", "leave --tied out")
        if self.tied and self.refit:
            raise UserError("a refit frees the decoder from the encoder, which tied weights forbid", "use refit 0")

    @property
    def _objective(self) -> type[GeneralObjective[Any]]:
        from saescope.training.objectives import objective

        return objective(self.architecture)

    @property
    def sparsity(self) -> tuple[str, float]:
        """Name and value of the setting that decides how sparse the code is: the target, where there is one."""
        for name in reversed(SPARSITY):
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
    first_norm: float = 1.0
    l1_weighting: L1Weighting = "none"
    gate_decoder: GateDecoder = "held"
    first_b_dec: FirstBias = "mean"
    l1_warmup: float = 0.0
    refit: float = 0.0
    bandwidth: float = 1.0
    initial_threshold: float = 0.0
    tanh_scale: float = 1.0
    pre_activation_weight: float = 0.0
    encoder_widths: tuple[int, ...] = ()
    decoder_widths: tuple[int, ...] = ()
    kl_weight: float = 0.0
    revival: Revival = "none"
    dead_after: int = 1
    aux_weight: float = 0.0
    aux_k: int = 1
    resample_every: int = 1
    resample_until: float = 0.0

    @classmethod
    def of(cls, config: TrainingConfig, **defaults: Any) -> Recipe:
        """`config` as a recipe: what it leaves open comes from `defaults`, or is what an unused field holds."""
        given = {field.name: getattr(config, field.name) for field in fields(config)}
        return cls(**(defaults | {name: value for name, value in given.items() if value is not None}))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


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
