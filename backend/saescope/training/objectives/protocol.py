"""What the trainer asks of an architecture: defaults, an initial model, a loss, and what happens to dead features.

An objective is one file of this package that registers a class under its architecture's name. It holds no state that
changes: all of that lives in `Run`, so that a run can stop and resume exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders import Autoencoder
from saescope.autoencoders.linear import LinearAutoencoder
from saescope.training.config import Recipe, Revival, TrainingConfig
from saescope.training.objectives.first_norm import first_norm
from saescope.training.processes import ALONE, Processes

Model = TypeVar("Model", bound=Autoencoder)

BELOW = 1e-3
"""How far below the least value that is to exceed it a bound lies, as a fraction of that value."""


@dataclass(frozen=True)
class DataSize:
    """What defaults may depend on."""

    n_rows: int
    """Positions to train on."""
    d_in: int
    """Width of an activation."""


@dataclass(frozen=True)
class StepInputs:
    """One step's data and place in the run."""

    x: Float[Tensor, "batch d_in"]
    """Activations in the space of training."""
    step: int
    """0-based."""
    variance: float
    """Mean squared norm of centred activations (the target's) in that space, per position."""
    silent: Int64[Tensor, " n_features"]
    """Positions seen since each feature last fired."""
    sparsity: float
    """Value of the field that `GeneralObjective.setting` names: the config's, or where a target L0 has led it."""
    targets: Float[Tensor, "batch d_out"] | None = None
    """What a transcoder's output stands for, in its own space of training. None: x itself."""

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


class GeneralObjective(ABC, Generic[Model]):
    """How one architecture is trained. Adding one means adding a file, and to `TrainingConfig` what it alone takes."""

    sparsity: ClassVar[str]
    """Field of `TrainingConfig` that decides how sparse the code is."""
    alternatives: ClassVar[tuple[str, ...]] = ()
    """Fields that may do so in its place."""
    own_settings: ClassVar[frozenset[str]] = frozenset()
    """Fields of `TrainingConfig` that mean something to this architecture and not to all."""
    revivals: ClassVar[tuple[Revival, ...]] = ("resample", "none")
    """What may bring its dead features back."""
    processes: Processes = ALONE
    """Those that share a batch: asked for whatever of a batch is no mean over its positions."""

    sets_rows_aside: ClassVar[bool] = False
    """Whether `finish` wants rows that were not trained on."""
    sparsity_lowers_l0: ClassVar[bool] = True
    """Whether a larger value of that setting gives a smaller L0."""
    looks_ahead: ClassVar[float] = 0.0
    """Fraction of the run by which its L0's trend is carried on where a target L0 leads it."""
    errors_in_loss: ClassVar[int] = 1
    """How often the loss has sum (x - x_hat)^2 / d_out of a code of zeros: `gated` has two reconstructions."""

    def __init__(self, config: Recipe, d_target: int | None = None) -> None:
        """`d_target` is the width of a transcoder's target; None: the SAE reconstructs its input."""
        self.config, self.d_target = config, d_target

    @property
    def setting(self) -> str:
        """Of the fields that decide how sparse the code is, the one that this run goes by."""
        given = [name for name in self.alternatives if getattr(self.config, name) is not None]
        return given[0] if given else self.sparsity

    @classmethod
    @abstractmethod
    def resolve(cls, config: TrainingConfig, size: DataSize) -> Recipe:
        """`config` with every default that depends on the architecture or the data filled in."""

    @classmethod
    def check(cls, config: TrainingConfig) -> None:
        """`UserError` where settings of `config` do not go together for this architecture."""
        return None

    @abstractmethod
    def new_model(self, d_in: int) -> Model:
        """A module of the architecture, all zeros."""

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
        """Where the setting that `sparsity` names starts, with a target L0."""
        return 1.0

    def led_settings(self, value: float) -> dict[str, float]:
        """What the settings are where a target L0 has led the one that `setting` names to `value`."""
        return {self.setting: value}

    def refitting(self, step: int) -> bool:
        """Whether the decoder is fitted at `step` with the codes' support kept, its norms free."""
        return False

    @abstractmethod
    def quick(self, model: Model) -> list[Tensor]:
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


class Objective(GeneralObjective[LinearAutoencoder]):
    """How an architecture with a linear encoder and a linear decoder is trained."""

    resampled_at_once: ClassVar[float] = 1.0
    """Largest fraction of all features that one round of resampling may change."""

    def fields(self, d_in: int) -> dict[str, Any]:
        """The config fields that every linear architecture takes from the recipe."""
        c = self.config
        return {
            "d_in": d_in,
            "n_features": c.n_features,
            "tied": c.tied,
            "apply_b_dec_to_input": c.apply_b_dec_to_input,
            "d_out": self.d_target or d_in,
            "transcoder": self.d_target is not None,
            "skip": c.skip,
        }

    def initialise(self, model: LinearAutoencoder, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        """First weights: random atoms of one norm, the encoder their transpose, zero b_enc, b_dec amid the data.

        A transcoder's encoder is random by itself, with rows of the same norm; b_dec is set to the target's mean later,
        by the run.
        """
        generator = torch.Generator().manual_seed(seed)
        atoms = torch.randn(model.n_features, model.d_out, generator=generator)
        norm = first_norm(self.config.first_norm, sample)
        atoms *= norm / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
        rows = atoms
        if model.config.transcoder:
            rows = torch.randn(model.n_features, model.d_in, generator=generator)
            rows *= norm / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        with torch.no_grad():
            model.W_dec.copy_(atoms)
            if not model.config.tied:
                model.encoder.copy_(rows)
            model.b_enc.zero_()
            if not model.config.transcoder:
                amid = geometric_median(sample) if self.config.first_b_dec == "geometric_median" else sample.mean(0)
                model.b_dec.copy_(amid)

    def set_target_mean(self, model: LinearAutoencoder, mean: Float[Tensor, " d_out"]) -> None:
        model.b_dec.copy_(mean)

    @property
    def resampled_norm(self) -> float:
        """Norm of a resampled feature's encoder row, over the mean norm of the living features' rows.

        A fifth lets a feature grow from little.
        """
        return 0.2

    @property
    def resampled_bias(self) -> float:
        """b_enc of a resampled feature."""
        return 0.0

    @property
    def resampled_steps_usual(self) -> bool:
        """Whether a resampled feature's first steps are as long as other features', or three times (see `Adam`).

        Long ones help it to find its place (matryoshka on a toy source: 0.981 of the dictionary found, 0.967 with
        usual ones), but free atoms under an L1 penalty are thrown back out by them.
        """
        return self.sparsity == "l1" and self.config.decoder_norm == "free"

    def l1_weights(self, model: LinearAutoencoder) -> Float[Tensor, " n_features"] | None:
        """w_j of an L1 penalty: the atoms' norms, or None where all are 1."""
        return torch.linalg.vector_norm(model.W_dec, dim=1) if self.config.l1_weighting == "decoder_norm" else None

    def quick(self, model: LinearAutoencoder) -> list[Tensor]:
        return [model.b_enc]

    def matrices(self, model: LinearAutoencoder) -> list[Tensor]:
        return [model.W_dec] if model.config.tied else [model.W_dec, model.encoder_rows]

    def restart(
        self, model: LinearAutoencoder, features: Int64[Tensor, " dead"], inputs: Float[Tensor, "row d_in"], rate: float
    ) -> list[Tensor]:
        """What resampled features begin with beside encoder row, atom and b_enc, or in the place of that b_enc.

        `rate` is how often a living feature fires on `inputs`, on average. Returns further parameters that it changed.
        With a target L0, b_enc lets each feature fire that often. At 0 it would fire on half of all positions: a few
        such features fire more than all others together, and the weight that follows the L0 then drives out more of
        those, which are resampled in turn.
        """
        if self.config.target_l0 is not None:
            z = functional.linear(model.centred(inputs), model.encoder_rows[features])
            model.b_enc[features] = -exceeded_at_rate(z, rate)
        return []


def make_atoms_unit(model: LinearAutoencoder, *beside: Float[Tensor, " n_features"]) -> None:
    """Gives each atom norm 1, and its norm to its row of the encoder and to what stands `beside` its pre-activation.

    With f(c z) = c f(z) for c > 0, where biases and thresholds take the same factor, no reconstruction changes. Tied
    weights stay: their encoder cannot take what the atoms give.
    """
    if model.config.tied:
        return
    with torch.no_grad():
        norms = model.decoder_norms
        model.W_dec.div_(norms.unsqueeze(1))
        model.encoder_rows.mul_(norms.unsqueeze(1))
        for each in (model.b_enc, *beside):
            each.mul_(norms)


def exceeded_at_rate(z: Float[Tensor, "row feature"], rate: float) -> Float[Tensor, " feature"]:
    """For each column a bound that a fraction `rate` of its values exceed, and one value at least."""
    often = min(len(z), max(1, round(rate * len(z))))
    least = z.topk(often, dim=0).values[-1]
    return least - BELOW * least.abs()


def geometric_median(
    points: Float[Tensor, "point d_in"], rounds: int = 100, tolerance: float = 1e-5
) -> Float[Tensor, " d_in"]:
    """The place whose summed distance to all points is least (Weiszfeld's algorithm, from their mean)."""
    place = points.mean(0)
    for _ in range(rounds):
        weights = 1 / torch.linalg.vector_norm(points - place, dim=1).clamp(min=1e-12)
        moved = weights @ points / weights.sum()
        if float(torch.linalg.vector_norm(moved - place)) <= tolerance * float(torch.linalg.vector_norm(moved)):
            return moved
        place = moved
    return place
