"""What every training run takes, whatever its architecture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Generic, Literal

from msgspec import Meta

from saescope.autoencoders.settings.corruption import CorruptionSettings
from saescope.options import OPEN, Open, check_fields, flag
from saescope.store.errors import OptionError

Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, le=2**62)]
"""PyTorch takes numbers of 64 bits."""
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
TransformKind = Literal["none", "scale", "zca"]
BY_SIZE = flag(default="by the size of the data")


@dataclass(frozen=True)
class RunSettings(CorruptionSettings, Generic[Open]):
    """Settings of one run beside those of its architecture. What is left open follows the architecture and the size of
    the data."""

    n_features: Annotated[int, Meta(ge=1, le=2**31 - 1)] = field(metadata=flag(metavar="M"))
    """Width of the code."""
    target_l0: Positive | None = field(default=None, metadata=flag(metavar="L0"))
    """Any architecture, instead of its own setting: firing features per position to arrive at."""
    seed: Seed = 0
    """Of the initial weights, the order of the data and every draw."""
    steps: Count | Open = field(default=OPEN, metadata=BY_SIZE)
    """Optimiser steps."""
    batch_size: Annotated[int, Meta(ge=1, le=2**24)] | Open = field(default=OPEN, metadata=BY_SIZE)
    """Positions per step."""
    lr: Positive | Open = OPEN
    """Peak learning rate of Adam."""
    bias_rate: Positive | Open = OPEN
    """Learning rate of the encoder's biases over that of all other weights."""
    lr_warmup: Fraction | Open = OPEN
    """Fraction of the steps over which the rate rises linearly from 0."""
    lr_decay: Fraction | Open = OPEN
    """Fraction of the steps, at the end, over which the rate falls linearly to 0."""
    adam_beta1: Fraction = 0.9
    """Decay of Adam's mean of gradients, per step."""
    adam_beta2: Fraction = 0.999
    """Decay of Adam's mean of squared gradients, per step."""
    adam_epsilon: Positive = 1e-8
    """Added to the root of Adam's mean of squared gradients."""
    grad_clip: NotNegative | Open = OPEN
    """Largest norm of the gradient of all weights together; 0 = no clipping."""
    weight_decay: NotNegative | Open = OPEN
    """Of the matrices, in the loss: weight_decay / 2 times the sum of their squares."""
    input_transform: TransformKind | Open = OPEN
    """Space to train in: raw (`none`), centred with mean norm sqrt(d_in) (`scale`) or whitened (`zca`); folded into the
    saved weights, so that a checkpoint takes raw inputs."""
    zca_epsilon: Positive = 0.01
    """`zca`: added to each eigenvalue of the covariance, as a fraction of their mean."""
    autocast: bool = False
    """Matrix products of the loss in bfloat16, on GPUs and processors that have it. Weights, their gradients and
    moments stay float32; codes are rounded to 8 bits, and so may be equal where they were not."""
    dead_after: Count | Open = OPEN
    """Positions without firing after which a feature counts as dead in training."""

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_corruption()
        if (self.lr_warmup or 0) + (self.lr_decay or 0) > 1:
            raise OptionError(
                f"lr_warmup {self.lr_warmup} and lr_decay {self.lr_decay} together exceed the whole training",
                "they are fractions of the steps",
            )
        if self.target_l0 is not None and self.target_l0 > self.n_features:
            raise OptionError(
                f"target_l0 is {self.target_l0}, but an L0 lies between 0 and n_features, {self.n_features}"
            )


@dataclass(frozen=True)
class DataSize:
    """What defaults may depend on, and what settings may not go with."""

    n_rows: int
    """Positions to train on."""
    d_in: int
    """Width of an activation."""
    shape: tuple[int, int, int] | None = None
    """Height, width and channels of an activation that is an image or a patch of one: rows of pixels, channels last."""
    values: tuple[float, float] | None = None
    """Least and greatest value, where the settings need them."""
