"""What autoencoders of several layers take."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Never, Self

from msgspec import Meta

from saescope.autoencoders.settings.architecture import ArchitectureSettings
from saescope.autoencoders.settings.run import Count, DataSize, RunSettings
from saescope.options import OPEN, Open, filled
from saescope.store.errors import OptionError

WIDEST = 32
"""Width of the hidden layers next to the input and the output, over sqrt(d_in); the ones inside are half as wide."""


@dataclass(frozen=True)
class HiddenLayers(ArchitectureSettings[Open]):
    """How wide the hidden layers are."""

    encoder_widths: tuple[Count, ...] | Open = OPEN
    """Widths of the hidden layers between input and code, in that order; none where empty (on the command line 0).
    By the size of the data if left out; deep: one of twice the input's width."""
    decoder_widths: tuple[Count, ...] | Open = OPEN
    """Widths of the hidden layers between code and output, likewise. The encoder's mirrored if left out; deep: one
    of twice the input's width."""

    def products(self, run: RunSettings[Never], d_in: int) -> int:
        hidden: Any = self.encoder_widths or ()
        widths: tuple[int, ...] = (d_in, *hidden, run.n_features)
        return sum(before * after for before, after in itertools.pairwise(widths))


@dataclass(frozen=True)
class ReconstructionLoss(ArchitectureSettings[Open]):
    """What a reconstruction is judged by in training."""

    loss: Literal["mse", "bce", "psnr"] = "mse"
    """`mse`: sum (x - x_hat)^2; `bce`: binary cross-entropy with a sigmoid output, for raw data in [0, 1]; `psnr`: the
    logarithm of each example's mse, so that examples with a small error count as much as others (Chen et al. 2021,
    "HINet")."""

    @property
    def needs_values(self) -> bool:
        return self.loss == "bce"

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.loss == "bce" and run.input_transform not in (None, "none"):
            raise OptionError(
                f"--loss bce takes the data as they are, in [0, 1], but the input transform {run.input_transform!r} "
                "standardises them",
                "use --input-transform none, or --loss mse",
            )

    def check_targets(self, transcodes: bool, noisy: bool) -> None:
        super().check_targets(transcodes, noisy)
        if noisy and self.loss == "psnr":
            raise OptionError(
                "--loss psnr weighs each example by its error, and that of a noisy target is mostly its noise",
                "use --loss mse, whose minimum noise in the target does not move",
            )
        if transcodes and self.loss == "bce":
            raise OptionError(
                "--loss bce is for data in [0, 1], and a transcoder's targets are a model's activations",
                "use --loss mse",
            )

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        run, own = super().with_own_defaults(run, size)
        if own.loss == "bce":
            least, greatest = size.values or (0.0, 1.0)
            if least < 0 or greatest > 1:
                raise OptionError(
                    f"--loss bce takes each value as a probability, in [0, 1], but the data lie between {least:g} and "
                    f"{greatest:g}",
                    "use --loss mse, or scale the data to [0, 1]",
                )
            run = filled(run, input_transform="none")
        return run, own


@dataclass(frozen=True)
class HiddenActivation(ArchitectureSettings[Open]):
    """What stands between the layers."""

    activation: Literal["relu", "leaky_relu"] = "relu"
    """Activation function of the hidden layers; `leaky_relu` has slope 0.01 below 0."""


@dataclass(frozen=True)
class DenseSettings(HiddenLayers[Open], HiddenActivation[Open], ReconstructionLoss[Open]):
    """Of autoencoders whose code nothing makes sparse."""

    revival: Literal["none"] | Open = OPEN
    batch_norm: bool = False
    """Whether hidden layers are normalised over each batch in training (Ioffe & Szegedy 2015); the checkpoint has the
    running statistics in its weights."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Probability with which a hidden unit is left out of a step."""

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        run, own = super().with_own_defaults(run, size)
        widest = 2 ** round(math.log2(WIDEST * math.sqrt(size.d_in)))
        own = filled(own, encoder_widths=(widest, widest // 2))
        hidden: Any = own.encoder_widths
        return filled(run, bias_rate=1.0), filled(own, decoder_widths=hidden[::-1])

    def with_late_defaults(self, run: RunSettings[Never]) -> Self:
        if self.batch_norm and run.batch_size < 2:
            raise OptionError("batch_size is 1, but batch normalisation compares the positions of a batch", "give 2")
        return super().with_late_defaults(run)
