"""What the architectures with a linear encoder and a linear decoder take, with an L1 penalty and with AuxK."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, Never, Self

from saescope.autoencoders.settings.architecture import ArchitectureSettings, AuxiliaryLoss, KeepsK, L1Penalty
from saescope.autoencoders.settings.run import Count, DataSize, Fraction, NotNegative, RunSettings
from saescope.options import OPEN, Open, filled, flag
from saescope.store.errors import OptionError

BY_DATA = 0.0
"""Stands for a first norm that is chosen from a sample (see `objectives.first_norm`)."""
AUXK_FROM = 8
"""Smallest k that is trained with AuxK alone by default: below, few dead features ever get among the k largest through
it, so they are resampled as well; above, resampled features crowd out others and cost reconstruction."""


@dataclass(frozen=True)
class LinearSettings(ArchitectureSettings[Open]):
    """Of one linear layer each way."""

    decoder_norm: Literal["unit", "free"] | Open = OPEN
    """`unit`: atoms keep norm 1, their gradient along themselves is removed. `free`: neither."""
    first_norm: NotNegative | Open = OPEN
    """Norm of the atoms before the first step; 0 = 0.1, or 1 where one direction has more than a third of the data's
    variance."""
    first_b_dec: Literal["mean", "geometric_median", "zero"] | Open = OPEN
    """b_dec before the first step: the `mean` of a sample of the data, its `geometric_median`, or `zero`."""
    first_atoms: Literal["random", "data"] = "random"
    """directions of the atoms before the first step: `random`, or those of positions drawn from the `data`, seen from
    b_dec."""
    tied: bool = field(default=False, metadata=flag("--tied/--untied"))
    """Whether the encoder is the transposed decoder throughout training."""
    apply_b_dec_to_input: bool = field(default=False, metadata=flag("--pre-bias/--no-pre-bias"))
    """Whether b_dec is subtracted from the input before encoding."""
    skip: bool = False
    """For transcoders: whether a linear path from the input is added to the output."""
    resample_every: Count | Open = OPEN
    """`resample`: steps between two rounds."""
    resample_until: Fraction | Open = OPEN
    """`resample`: fraction of the steps after which no round takes place."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.skip and self.tied:
            raise OptionError("a skip term is for transcoders, whose weights cannot be tied", "leave --tied out")

    def check_targets(self, transcodes: bool, noisy: bool) -> None:
        super().check_targets(transcodes, noisy)
        if not transcodes and self.skip:
            raise OptionError(
                "a skip term would copy the input of an SAE that reconstructs it",
                "leave --skip out, or give a transcoder its targets with --hook-out or --targets",
            )
        if transcodes and self.first_atoms == "data":
            raise OptionError(
                "a transcoder's atoms lie in the space of its target, and cannot begin from inputs",
                "leave --first-atoms out",
            )
        if transcodes and (self.tied or self.apply_b_dec_to_input):
            name = "--tied" if self.tied else "--pre-bias"
            raise OptionError(
                f"{name} is given, but a transcoder's input and target are in different spaces", f"leave {name} out"
            )

    def with_late_defaults(self, run: RunSettings[Never]) -> Self:
        return filled(
            super().with_late_defaults(run),
            decoder_norm="unit",
            first_norm=1.0,
            first_b_dec="mean",
            resample_every=max(1, run.steps // 40),
            resample_until=0.85,
        )


@dataclass(frozen=True)
class AuxkSettings(LinearSettings[Open], AuxiliaryLoss[Open], KeepsK[Open]):
    """Of what keeps the largest pre-activations and is trained with AuxK."""

    sparsity = ("k",)
    keeps_k = True

    revival: Literal["auxk", "resample", "both", "none"] | Open = OPEN

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        own = self
        if run.target_l0 is not None:
            own = dataclasses.replace(own, k=int(run.target_l0))
            run = dataclasses.replace(run, target_l0=None)
        assert own.k is not None
        return run, filled(own, revival="both" if own.k < AUXK_FROM else "auxk")


@dataclass(frozen=True)
class LinearL1Settings(LinearSettings[Open], L1Penalty[Open]):
    """Of an L1 penalty on linear atoms."""

    sparsity = ("l1",)

    revival: Literal["resample", "none"] | Open = OPEN
    l1_weighting: Literal["none", "decoder_norm"] | Open = OPEN
    """`decoder_norm` weighs each |f_j| by the norm of its atom (Anthropic, April 2024); `none` with unit atoms."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.l1_weighting == "decoder_norm" and self.decoder_norm == "unit":
            raise OptionError("weighting by decoder norms makes no difference with unit norms", "use a free decoder")

    def with_norms(self) -> Self:
        """With what the penalty makes of atoms that are not kept at norm 1: free, weighted by their norms."""
        fixed = self.tied or self.decoder_norm == "unit"
        weighted = filled(self, l1_weighting="none" if fixed else "decoder_norm")
        if weighted.l1_weighting == "none":
            return filled(weighted, decoder_norm="unit")
        return filled(weighted, decoder_norm="free", first_norm=BY_DATA)
