"""How architectures with a linear encoder and a linear decoder are trained: first weights, norms, resampling."""

from __future__ import annotations

from typing import Any, ClassVar, Never, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives.first_norm import first_norm
from saescope.autoencoders.objectives.protocol import Objective
from saescope.autoencoders.settings.linear import LinearL1Settings, LinearSettings

LinearModel = TypeVar("LinearModel", bound=LinearAutoencoder)
LinearOwn = TypeVar("LinearOwn", bound=LinearSettings[Never])

BELOW = 1e-3
"""How far below the least value that is to exceed it a bound lies, as a fraction of that value."""


class LinearObjective(Objective[LinearModel, LinearOwn]):
    """How an architecture with a linear encoder and a linear decoder is trained."""

    resampled_at_once: ClassVar[float] = 1.0
    """Largest fraction of all features that one round of resampling may change."""

    def fields(self, d_in: int) -> dict[str, Any]:
        """The config fields that every linear architecture takes from the settings."""
        c = self.own
        return {
            "d_in": d_in,
            "n_features": self.run.n_features,
            "tied": c.tied,
            "apply_b_dec_to_input": c.apply_b_dec_to_input,
            "d_out": self.d_target or d_in,
            "transcoder": self.d_target is not None,
            "skip": c.skip,
            "noise_input": self.run.noise_conditioning,
        }

    def initialise(self, model: LinearModel, sample: Float[Tensor, "batch d_in"], seed: int) -> None:
        """First weights: atoms of one norm, the encoder their transpose, zero b_enc, b_dec amid the data.

        Atoms are random, or what rows of the sample are beside b_dec. A transcoder's encoder is random by itself, with
        rows of the same norm; b_dec is set to the target's mean later, by the run.
        """
        generator = torch.Generator().manual_seed(seed)
        b_dec = torch.zeros(model.d_out) if model.config.transcoder else self._first_b_dec(sample)
        atoms = torch.randn(model.n_features, model.d_out, generator=generator)
        if self.own.first_atoms == "data":
            drawn = sample[draw_rows(len(sample), model.n_features, generator)] - b_dec
            atoms = torch.where(drawn.any(1, keepdim=True), drawn, atoms)
        norm = first_norm(self.own.first_norm, sample)
        atoms *= norm / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
        rows = atoms
        if model.config.transcoder:
            rows = torch.randn(model.n_features, model.d_in, generator=generator)
            rows *= norm / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        with torch.no_grad():
            model.W_dec.copy_(atoms)
            if not model.config.tied:
                model.encoder.zero_()  # the noise level, if it is taken, says nothing at first
                model.encoder[:, : model.d_in].copy_(rows)
            model.b_enc.zero_()
            model.b_dec.copy_(b_dec)

    def _first_b_dec(self, sample: Float[Tensor, "batch d_in"]) -> Float[Tensor, " d_in"]:
        if self.own.first_b_dec == "zero":
            return torch.zeros(sample.shape[1])
        return geometric_median(sample) if self.own.first_b_dec == "geometric_median" else sample.mean(0)

    def set_target_mean(self, model: LinearModel, mean: Float[Tensor, " d_out"]) -> None:
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
        return self.setting == "l1" and self.own.decoder_norm == "free"

    def keeps_unit_atoms(self, step: int) -> bool:
        return self.own.decoder_norm == "unit" and not self.refitting(step)

    def resamples(self, step: int) -> bool:
        c = self.own
        if c.revival not in ("resample", "both") or step == 0:
            return False
        return step % c.resample_every == 0 and step <= c.resample_until * self.run.steps

    def bias_parameters(self, model: LinearModel) -> list[Tensor]:
        return [model.b_enc]

    def matrices(self, model: LinearModel) -> list[Tensor]:
        return [model.W_dec] if model.config.tied else [model.W_dec, model.encoder_rows]

    def restart(
        self, model: LinearModel, features: Int64[Tensor, " dead"], inputs: Float[Tensor, "row d_in"], rate: float
    ) -> list[Tensor]:
        """What resampled features begin with beside encoder row, atom and b_enc, or in the place of that b_enc.

        `rate` is how often a living feature fires on `inputs`, on average. Returns further parameters that it changed.
        With a target L0, b_enc lets each feature fire that often. At 0 it would fire on half of all positions: a few
        such features fire more than all others together, and the weight that follows the L0 then drives out more of
        those, which are resampled in turn.
        """
        if self.run.target_l0 is not None:
            z = functional.linear(model.centred(inputs), model.encoder_rows[features])
            model.b_enc[features] = -exceeded_at_rate(z, rate)
        return []


def l1_weights(model: LinearAutoencoder, settings: LinearL1Settings[Never]) -> Float[Tensor, " n_features"] | None:
    """w_j of an L1 penalty: the atoms' norms, or None where all are 1."""
    return torch.linalg.vector_norm(model.W_dec, dim=1) if settings.l1_weighting == "decoder_norm" else None


def make_atoms_unit(model: LinearAutoencoder, *further: Float[Tensor, " n_features"]) -> None:
    """Gives each atom norm 1, and its norm to its row of the encoder, to b_enc and to `further` biases or thresholds.

    With f(c z) = c f(z) for c > 0, where biases and thresholds take the same factor, no reconstruction changes. Tied
    weights stay: their encoder cannot take what the atoms give.
    """
    if model.config.tied:
        return
    with torch.no_grad():
        norms = model.decoder_norms
        model.W_dec.div_(norms.unsqueeze(1))
        model.encoder_rows.mul_(norms.unsqueeze(1))
        for each in (model.b_enc, *further):
            each.mul_(norms)


def draw_rows(n_rows: int, n: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
    """`n` rows by chance, each once before any comes again."""
    rounds = [torch.randperm(n_rows, generator=generator) for _ in range(-(-n // n_rows))]
    return torch.cat(rounds)[:n]


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
