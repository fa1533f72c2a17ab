"""ReLU with an L1 penalty (Bricken et al. 2023, Conerly et al. 2024), and published recipes for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from msgspec import Meta

from saescope.autoencoders.registry import Architecture
from saescope.autoencoders.settings.linear import LinearL1Settings
from saescope.autoencoders.settings.run import DataSize, Fraction, RunSettings
from saescope.options import OPEN, Open, filled
from saescope.store.errors import OptionError

RECIPES: dict[str, dict[str, Any]] = {
    "2023": {
        "apply_b_dec_to_input": True,
        "first_b_dec": "geometric_median",
        "l1_weighting": "none",
        "decoder_norm": "unit",
        "lr": 1e-3,
        "bias_rate": 1.0,
        "lr_warmup": 0.0,
        "lr_decay": 0.0,
        "l1_warmup": 0.0,
        "refit": 0.0,
        "revival": "resample",
        "grad_clip": 0.0,
    },
    "april2024": {
        "apply_b_dec_to_input": False,
        "l1_weighting": "decoder_norm",
        "decoder_norm": "free",
        "first_norm": 0.1,
        "lr": 5e-5,
        "bias_rate": 1.0,
        "lr_warmup": 0.0,
        "lr_decay": 0.2,
        "l1_warmup": 0.05,
        "refit": 0.0,
        "revival": "none",
        "grad_clip": 1.0,
    },
}
"""What each published recipe sets. Inputs are centred too, in the space of training."""
Record = TypeVar("Record", bound=Any)


@dataclass(frozen=True)
class ReluSettings(LinearL1Settings[Open]):
    """Forms of the penalty, and what follows it."""

    recipe: Literal["2023", "april2024"] | None = None
    """Defaults as published instead of ours: `2023` (Bricken et al.) or `april2024` (Conerly et al.)."""
    l1_reduction: Literal["sum", "mean"] = "sum"
    """`mean` is the textbook form, both terms averaged over their dimensions, on raw inputs."""
    refit: Fraction | Open = OPEN
    """Fraction of the steps, at the end, that fit the decoder without penalty while the codes' support is kept. Undoes
    the shrinkage that the penalty causes; which features fire is not changed by it."""
    p_end: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Exponent of |f| in the penalty that the run ends with; it falls from 1 (p-annealing, Karvonen et al.)."""
    p_from: Fraction = 0.3
    """Fraction of the steps at which the exponent begins to fall."""

    def check(self, architecture: str, run: RunSettings[Any]) -> None:
        super().check(architecture, run)
        if self.l1_reduction == "mean" and run.input_transform not in (None, "none"):
            raise OptionError(
                f"--l1-reduction mean takes raw inputs, but the input transform is {run.input_transform!r}",
                "use the summed form with whitening",
            )
        if self.recipe is not None and self.l1_reduction == "mean":
            raise OptionError(f"the recipe {self.recipe} sums its terms; --l1-reduction mean is another one")
        if self.tied and self.refit:
            raise OptionError("a refit frees the decoder from the encoder, which tied weights forbid", "use refit 0")

    def with_own_defaults(self, run: RunSettings[None], size: DataSize) -> tuple[RunSettings[None], Self]:
        own = self
        if own.recipe is not None:
            published = RECIPES[own.recipe]
            run, own = with_published(run, published), with_published(own, published)
        if own.l1_reduction == "mean":
            run = filled(
                run, input_transform="none", lr=1e-3, bias_rate=1.0, lr_warmup=0.0, lr_decay=0.0, grad_clip=0.0
            )
            own = filled(own, l1_weighting="none", decoder_norm="free", l1_warmup=0.0, refit=0.0, revival="none")
        own = filled(
            own,
            revival="resample",
            l1_warmup=0.0 if run.target_l0 else 0.3,
            refit=0.0 if own.tied else 0.1,
        )
        return run, own.with_norms()


def with_published(record: Record, published: dict[str, Any]) -> Record:
    """Settings with what a recipe sets, where they leave it open or at what is no choice."""
    unset = {f.name for f in dataclasses.fields(record) if getattr(record, f.name) in (None, f.default)}
    changed: Record = dataclasses.replace(record, **{n: v for n, v in published.items() if n in unset})
    return changed


ARCHITECTURE = Architecture(
    "relu",
    settings=ReluSettings,
    config_at=f"{__name__}.module:ReluConfig",
    module_at=f"{__name__}.module:ReluAutoencoder",
    objective_at=f"{__name__}.objective:ReluObjective",
    constraint="firing costs: + l1 sum_j |f_j|",
)
