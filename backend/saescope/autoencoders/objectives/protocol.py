"""What the trainer asks of an architecture: an initial model, a loss, and what happens to dead features.

An objective holds no state that changes: all of that lives in `training.run.Run`, so that a run can stop and resume
exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Never, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from saescope.autoencoders.objectives.processes import ALONE, Processes
from saescope.autoencoders.protocol import Autoencoder
from saescope.autoencoders.settings.architecture import ArchitectureSettings
from saescope.autoencoders.settings.run import RunSettings

Model = TypeVar("Model", bound=Autoencoder)
Own = TypeVar("Own", bound=ArchitectureSettings[Any])


@dataclass(frozen=True)
class StepInputs:
    """One step's data and place in the run."""

    x: Float[Tensor, "batch input_width"]
    """Activations in the space of training; with a noise input its level in the data's units behind them."""
    step: int
    """0-based."""
    variance: float
    """Mean squared norm of centred activations (the target's) in that space, per position."""
    silent: Int64[Tensor, " n_features"]
    """Positions seen since each feature last fired."""
    sparsity: float
    """Value of the field that `Objective.setting` names: the one given, or what a target L0 has brought it to; 0 where
    there is none."""
    targets: Float[Tensor, "batch d_out"] | None = None
    """What is to be reconstructed where that is not x itself: a transcoder's targets, in their own space of training,
    or the clean inputs of corrupted ones."""

    @property
    def target(self) -> Float[Tensor, "batch d_out"]:
        """What is to be reconstructed."""
        return self.x if self.targets is None else self.targets


@dataclass(frozen=True)
class StepLoss:
    """What a step yields. Numbers are kept as tensors: reading them would wait for the device."""

    total: Float[Tensor, ""]
    """To be minimised."""
    squared_error: Float[Tensor, ""]
    """Mean over the batch of ||target - x_hat||^2, in the space of training."""
    firing: Int64[Tensor, " n_features"]
    """Positions of the batch where each feature fires."""
    terms: dict[str, Tensor] = field(default_factory=dict)
    """Further terms for the curve."""


class Objective(ABC, Generic[Model, Own]):
    """How one architecture is trained."""

    processes: Processes = ALONE
    """Those that share a batch: asked for whatever of a batch is no mean over its positions."""

    needs_held_out_rows: ClassVar[bool] = False
    """Whether `finish` wants rows that were not trained on."""
    sparsity_lowers_l0: ClassVar[bool] = True
    """Whether a larger value of the setting that decides how sparse a code is gives a smaller L0."""
    l0_extrapolation: ClassVar[float] = 0.0
    """Fraction of the run by which the trend of its L0 is carried on where a target L0 decides the setting."""
    n_reconstructions: ClassVar[int] = 1
    """How often the loss has sum (x - x_hat)^2 / d_out of a code of zeros: `gated` has two reconstructions."""

    def __init__(self, run: RunSettings[Never], own: Own, d_target: int | None = None) -> None:
        """`own` are the architecture's settings, `d_target` the width of a transcoder's target; None: the SAE
        reconstructs its input."""
        self.run, self.own, self.d_target = run, own, d_target

    @property
    def setting(self) -> str | None:
        """Of the fields that decide how sparse the code is, the one that this run goes by; None where none does."""
        return self.own.sparsity_setting

    @abstractmethod
    def new_model(self, d_in: int) -> Model:
        """A module of the architecture, all zeros, for activations of width `d_in`. Where
        `run.noise_conditioning` is set, its config has a noise input."""

    @abstractmethod
    def loss(self, model: Model, inputs: StepInputs) -> StepLoss:
        """Loss of one batch, differentiable in the model's parameters."""

    @abstractmethod
    def initialise(self, model: Model, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        """First weights, from a sample of the training data, in its space."""

    @abstractmethod
    def set_target_mean(self, model: Model, mean: Float[Tensor, " d_out"]) -> None:
        """First bias of a transcoder's output. Gradients are off."""

    @property
    def first_sparsity(self) -> float:
        """Where the setting that decides how sparse the code is starts, with a target L0."""
        return 1.0

    def settings_at(self, value: float) -> dict[str, float]:
        """What the settings are where a target L0 has brought the one that `setting` names to `value`."""
        return {} if self.setting is None else {self.setting: value}

    @property
    def anneals(self) -> bool:
        """Whether the penalty changes its form during the run."""
        return False

    @property
    def refit(self) -> float:
        """Fraction of the steps, at the end, that fit the decoder with the codes' support kept, its norms free."""
        return 0.0

    def refitting(self, step: int) -> bool:
        """Whether a step belongs to that part."""
        return step >= round(self.run.steps * (1 - self.refit))

    def keeps_unit_atoms(self, step: int) -> bool:
        """Whether atoms have norm 1 after a step."""
        return False

    def resamples(self, step: int) -> bool:
        """Whether dead features start again before a step."""
        return False

    @abstractmethod
    def bias_parameters(self, model: Model) -> list[Tensor]:
        """Parameters that learn at `bias_rate` times the rate of the others."""

    @abstractmethod
    def matrices(self, model: Model) -> list[Tensor]:
        """Parameters that weight decay shrinks, each once."""

    def after_step(self, model: Model, loss: StepLoss) -> None:
        """What follows the optimiser's step."""
        return None

    def finish(self, model: Model, sample: Float[Tensor, "batch d_in"]) -> None:
        """Last change to a trained model, before it is folded; `sample` is of the data, in the space of training."""
        return None


OF_LOSS, OF_CORRUPTION = 2, 3
"""What draws of a step are for: one kind tells nothing of another."""


def step_generator(
    run: RunSettings[Never], step: int, device: torch.device, rank: int = 0, purpose: int = OF_LOSS
) -> torch.Generator:
    """For draws of one step: a function of the run's seed and the step, so that a resumed run repeats them. `rank` is
    the process's."""
    mixed = np.random.SeedSequence([run.seed, purpose, step, rank]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> 1))


def warmed(warmup: float, steps: int, step: int) -> float:
    """The part of its weight that a penalty has: rising linearly over the first `warmup` of the steps."""
    rising = warmup * steps
    return 1.0 if step >= rising else (step + 1) / rising
