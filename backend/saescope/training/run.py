"""One run: a model, its optimiser and its counters, advanced a batch at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.store.errors import UserError
from saescope.training.adam import Adam
from saescope.training.config import Recipe
from saescope.training.curve import Curve
from saescope.training.data import Batch, StreamedTable, TrainingData
from saescope.training.objectives import Objective, StepInputs, StepLoss, objective
from saescope.training.processes import ALONE, Processes
from saescope.training.resampling import resample
from saescope.training.schedule import learning_rate
from saescope.training.target import TargetL0

SAMPLE_ROWS = 8192
"""Rows that the first weights and resampling look at."""

ASIDE_EVERY = 10
"""Steps between two looks at the rows set aside."""


class Run:
    """State of one run and how a step changes it."""

    def __init__(self, config: Recipe, data: TrainingData, processes: Processes = ALONE) -> None:
        """With several `processes`, `advance` takes this one's part of each batch."""
        self.config, self.data, self.processes = config, data, processes
        self.objective = objective(config.architecture)(config, data.d_target)
        self.objective.processes = processes
        self.model = self.objective.new_model(data.table.d_in)
        first = self._sample(0)
        self.objective.initialise(self.model, first.x.cpu(), config.seed)
        if first.targets is not None:
            with torch.no_grad():
                self.objective.set_target_mean(self.model, first.targets.mean(0))
        self.model.to(data.device)
        parameters = list(self.model.parameters())
        quick = {id(p) for p in self.objective.quick(self.model)}
        rates = [config.bias_rate if id(p) in quick else 1.0 for p in parameters]
        self.optimiser = Adam(parameters, config.adam_beta1, config.adam_beta2, config.adam_epsilon, rates)
        self.step = 0
        self.curve = Curve(self.steps)
        self.target = TargetL0.of(config, self.objective)
        self.silent = torch.zeros(config.n_features, dtype=torch.int64, device=data.device)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.config.steps

    @property
    def n_examples(self) -> int:
        """Positions seen so far."""
        return self.step * self.config.batch_size

    @property
    def sparsity(self) -> float:
        """Value of the setting that decides how sparse the code is."""
        if self.target is not None:
            return self.target.value
        return float(getattr(self.config, self.objective.setting))

    def finish(self) -> None:
        """The last change to the model."""
        aside = self.data.aside
        self.objective.finish(self.model, self._sample(self.steps).x if aside is None else aside)
        if self.target is not None and aside is not None:
            self.target.ended(self._l0_of(aside))

    def advance(
        self, x: Float[Tensor, "batch d_in"], targets: Float[Tensor, "batch d_out"] | None = None
    ) -> str | None:
        """One optimiser step on a batch. Returns a note for the display where a row of the curve ends.

        Raises `UserError` where the loss is no number any more.
        """
        rate = learning_rate(self.config, self.step)
        loss = self._optimise(x, targets, rate)
        self.curve.add(loss, self.data.variance, self._batch(x))
        if self.step % self.curve.every and self.step != self.steps:
            return None
        dead = float((self.silent >= self.config.dead_after).float().mean())
        row = self.curve.close_row(self.step, self.n_examples, dead, rate)
        if not math.isfinite(row["loss"]):
            raise UserError(f"training diverged: the loss is {row['loss']} at step {self.step}", "try a lower --lr")
        return f"FVU {row['fvu']:.3f}, L0 {row['l0']:.1f}, dead {100 * dead:.1f} %"

    def _optimise(self, x: Tensor, targets: Tensor | None, rate: float) -> StepLoss:
        self._revive()
        inputs = StepInputs(x, self.step, self.data.variance, self.silent, self.sparsity, targets)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.config.autocast):
            loss = self.objective.loss(self.model, inputs)
        self.optimiser.forget_gradients()
        loss.total.backward()
        self.processes.average_gradients(self.optimiser.parameters)
        loss = self.processes.merged(loss)
        unit = self.config.decoder_norm == "unit" and not self.objective.refitting(self.step)
        if unit:
            self._remove_parallel_gradient()
        if self.config.weight_decay:
            self._decay_weights(self.config.weight_decay)
        if self.config.grad_clip:
            self.optimiser.clip(self.config.grad_clip)
        self.optimiser.step(rate)
        if unit:
            self._normalise_atoms()
        self.objective.after_step(self.model, loss)
        if self.target is not None and not self.objective.refitting(self.step):
            self._follow_target(self.target, loss, self._batch(x))
        self.silent += self._batch(x)
        self.silent[loss.firing > 0] = 0
        self.step += 1
        return loss

    def _follow_target(self, target: TargetL0, loss: StepLoss, batch: int) -> None:
        loss.terms.update((name, torch.tensor(v)) for name, v in self.objective.led_settings(target.value).items())
        if self.data.aside is None:
            target.follow(float(loss.firing.sum()) / batch, self._cost(loss), self.step)
        elif self.step % ASIDE_EVERY == 0:
            target.follow(self._l0_of(self.data.aside), self._cost(loss), self.step, ASIDE_EVERY)

    def _l0_of(self, rows: Tensor) -> float:
        with torch.no_grad():
            codes = self.model.encode(rows)
        return float((codes.abs() > self.model.config.firing_threshold).sum()) / len(rows)

    def _cost(self, loss: StepLoss) -> float:
        """The loss over what it would be if no feature ever fired."""
        nothing = self.objective.errors_in_loss * self.data.variance / self.model.d_out
        return float(loss.total.detach()) / nothing

    def _sample(self, step: int) -> Batch:
        table = self.data.table
        rng = np.random.default_rng([self.config.seed, 1, step])
        among = table.sample_rows() if isinstance(table, StreamedTable) else table.n_rows
        size = min(SAMPLE_ROWS, among if isinstance(among, int) else len(among))
        return self.data.batch(np.sort(rng.choice(among, size=size, replace=False)))

    def _revive(self) -> None:
        c = self.config
        if c.revival not in ("resample", "both") or self.step == 0:
            return
        if self.step % c.resample_every or self.step > c.resample_until * c.steps:
            return
        dead = torch.nonzero(self.silent >= c.dead_after).squeeze(1)
        if len(dead) == 0:
            return
        assert isinstance(self.model, LinearAutoencoder)
        assert isinstance(self.objective, Objective)
        most = max(1, round(c.n_features * self.objective.resampled_at_once))
        if len(dead) > most:  # the longest silent first
            dead = dead[torch.argsort(self.silent[dead], descending=True, stable=True)[:most]]
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + self.step)
        drawn_from = self._sample(self.step)
        resample(self.model, self.optimiser, dead, drawn_from.x, generator, self.objective, drawn_from.targets)
        self.silent[dead] = 0
        self.share()

    def share(self) -> None:
        """Gives all processes the first one's weights, moments and counters. They are equal but for rounding, where
        GPUs differ."""
        self.processes.share((*self.model.state_dict().values(), *self.optimiser.tensors().values(), self.silent))

    def _batch(self, x: Tensor) -> int:
        """Positions of the whole batch."""
        return x.shape[0] * self.processes.size

    def _decay_weights(self, weight: float) -> None:
        for matrix in self.objective.matrices(self.model):
            if matrix.grad is not None:
                matrix.grad.add_(matrix.detach(), alpha=weight)

    def _remove_parallel_gradient(self) -> None:
        assert isinstance(self.model, LinearAutoencoder)
        gradient, atoms = self.model.W_dec.grad, self.model.W_dec.detach()
        if gradient is not None:
            along = torch.einsum("fd,fd->f", gradient, atoms)
            gradient.addcmul_(atoms, along.unsqueeze(1), value=-1)

    def _normalise_atoms(self) -> None:
        assert isinstance(self.model, LinearAutoencoder)
        atoms = self.model.W_dec.detach()
        atoms /= torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
