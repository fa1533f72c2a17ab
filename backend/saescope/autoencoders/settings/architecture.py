"""What the settings of every architecture have in common, and fields that several of them take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, Never, Self, cast

from msgspec import Meta

from saescope.autoencoders.settings.defaults import with_shared_defaults
from saescope.autoencoders.settings.run import Count, DataSize, Fraction, NotNegative, RunSettings
from saescope.options import OPEN, Open, check_fields, filled, flag, is_open
from saescope.store.errors import OptionError

Revival = Literal["auxk", "resample", "both", "pre_activation", "none"]


@dataclass(frozen=True)
class ArchitectureSettings(Generic[Open]):
    """What one architecture takes beside the settings of all runs. A subclass is the whole list: each field's docstring
    and annotation are its help, its check and its documentation."""

    sparsity: ClassVar[tuple[str, ...]] = ()
    """Fields that decide how sparse a code is, of which a run has one; the first is the one that a sweep varies. None
    where nothing makes the code sparse: a sweep then varies `swept`, and there is no target L0."""
    swept: ClassVar[str] = "n_features"
    """Setting that a sweep varies where no field decides how sparse a code is."""
    keeps_k: ClassVar[bool] = False
    """Whether a target L0 is this architecture's k, and so a whole number."""

    @property
    def needs_values(self) -> bool:
        """Whether these settings go with some ranges of the data's values only: `DataSize.values` is measured then."""
        return False

    revival: Revival | Open = OPEN
    """What brings dead features back: `auxk` (the largest codes of dead features rebuild the error), `resample` (a new
    start on what is reconstructed badly), `both` of these, `pre_activation` (pulled up to their thresholds) or
    `none`."""

    def __post_init__(self) -> None:
        check_fields(self)

    def products(self, run: RunSettings[Never], d_in: int) -> int:
        """Multiplications of an encoder's pass over one position, about: few of them are not worth several threads."""
        return d_in * run.n_features

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        """`OptionError` where settings do not go together. Subclasses add to it."""
        target = run.target_l0
        if self.keeps_k and target is not None and (target != int(target) or target < 1):
            raise OptionError(f"target_l0 is {target}, but {architecture} keeps a whole number of features")

    def check_targets(self, transcodes: bool, noisy: bool) -> None:
        """`OptionError` where settings do not go with what is rebuilt: other activations than the inputs
        (`transcodes`), a second noisy capture of them (`noisy`), or the inputs."""
        return None

    def remarks(self, run: RunSettings[Any], d_in: int) -> tuple[str, ...]:
        """What is worth saying before a run on inputs of width `d_in`, a sentence each."""
        return ()

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        """Both with the defaults that the architecture chooses itself."""
        return run, self

    def with_late_defaults(self, run: RunSettings[Never]) -> Self:
        """With the defaults that follow the run's."""
        return filled(self, revival="none")

    def resolve(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[Never], ArchitectureSettings[Never]]:
        """Settings with every field filled in that was left open."""
        run, own = self.with_own_defaults(run, size)
        run_filled = cast(RunSettings[Never], with_shared_defaults(run, size))
        own_filled: Any = own.with_late_defaults(run_filled)
        assert not is_open(run_filled)
        assert not is_open(own_filled), f"{type(self).__name__} leaves settings open: {own_filled}"
        return run_filled, own_filled

    @property
    def sparsity_setting(self) -> str | None:
        """Of the fields that decide how sparse the code is, the one that is given; the first where none is, None where
        there are no such fields."""
        given = (name for name in self.sparsity if getattr(self, name) is not None)
        return next(given, self.sparsity[0] if self.sparsity else None)


@dataclass(frozen=True)
class KeepsK(ArchitectureSettings[Open]):
    """Keeps the largest pre-activations."""

    k: Count | None = field(default=None, metadata=flag(metavar="K"))
    """Features kept per position (batchtopk, matryoshka: on average; groupmax: one from each of k groups)."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.k is not None and self.k > run.n_features:
            raise OptionError(f"k is {self.k}, but must lie between 1 and n_features, {run.n_features}")


@dataclass(frozen=True)
class AuxiliaryLoss(ArchitectureSettings[Open]):
    """Dead features may learn from what the others leave over (AuxK)."""

    aux_weight: NotNegative | Open = OPEN
    """`auxk`: weight of the auxiliary loss."""
    aux_k: Count | Open = OPEN
    """`auxk`: most dead features used per position."""

    def with_late_defaults(self, run: RunSettings[Never]) -> Self:
        return filled(super().with_late_defaults(run), aux_weight=0.1, aux_k=64)


@dataclass(frozen=True)
class Penalty(ArchitectureSettings[Open]):
    """A penalty on the code whose weight may rise slowly."""

    l1_warmup: Fraction | Open = OPEN
    """Fraction of the steps over which the penalty's weight rises linearly from 0."""


@dataclass(frozen=True)
class L1Penalty(Penalty[Open]):
    """An L1 penalty."""

    l1: NotNegative | None = field(default=None, metadata=flag(metavar="L"))
    """Weight of the sum of |f| beside sum (x - x_hat)^2, per position, in the space of training (gated: of its gates'
    positive parts)."""


@dataclass(frozen=True)
class RatePenalty(ArchitectureSettings[Open]):
    """A penalty on mean activations of sigmoid codes."""

    rho: Annotated[float, Meta(gt=0, lt=1)] | None = field(default=None, metadata=flag(metavar="R"))
    """Target of each feature's mean activation, strictly between 0 and 1, e.g. 0.05."""
    kl_weight: NotNegative | Open = OPEN
    """Weight of sum_j KL(rho || mean activation of j) beside sum (x - x_hat)^2 / 2 per position."""
