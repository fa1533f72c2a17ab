"""One run: a model, its optimiser and its counters, advanced a batch at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.objectives.linear import LinearObjective
from saescope.autoencoders.objectives.processes import ALONE, Processes
from saescope.autoencoders.objectives.protocol import OF_CORRUPTION, StepInputs, StepLoss, step_generator
from saescope.denoising.corruption import Corruption
from saescope.store.errors import OptionError
from saescope.training.adam import Adam
from saescope.training.config import ResolvedConfig
from saescope.training.curve import Curve
from saescope.training.data import Batch, StreamedTable, TrainingData
from saescope.training.l0_control import L0Controller
from saescope.training.resampling import resample
from saescope.training.schedule import learning_rate

SAMPLE_ROWS = 8192
"""Rows that the first weights and resampling look at."""

HELD_OUT_EVERY = 10
"""Steps between two looks at the held-out rows."""

HELD_OUT_DRAW = 2**40
"""What stands for a step in the corruption of held-out rows."""


class Run:
    """State of one run and how a step changes it."""

    def __init__(self, config: ResolvedConfig, data: TrainingData, processes: Processes = ALONE) -> None:
        """With several `processes`, `advance` takes this one's part of each batch."""
        self.config, self.data, self.processes = config, data, processes
        self.settings = settings = config.run
        self.objective = config.objective(data.d_target)
        self.objective.processes = processes
        self.corruption = Corruption.of(settings, data.shape)
        self.model = self.objective.new_model(data.table.d_in)
        first = self._sample(0)
        self.objective.initialise(self.model, first.x.cpu(), settings.seed)
        if first.targets is not None and data.d_target is not None:
            with torch.no_grad():
                self.objective.set_target_mean(self.model, first.targets.mean(0))
        self.model.to(data.device)
        parameters = list(self.model.parameters())
        biases = {id(p) for p in self.objective.bias_parameters(self.model)}
        rates = [settings.bias_rate if id(p) in biases else 1.0 for p in parameters]
        self.optimiser = Adam(parameters, settings.adam_beta1, settings.adam_beta2, settings.adam_epsilon, rates)
        self.step = 0
        self.curve = Curve(self.steps)
        self.l0_controller = L0Controller.of(self.objective)
        self.silent = torch.zeros(settings.n_features, dtype=torch.int64, device=data.device)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.settings.steps

    @property
    def n_examples(self) -> int:
        """Positions seen so far."""
        return self.step * self.settings.batch_size

    @property
    def sparsity(self) -> float:
        """Value of the setting that decides how sparse the code is; 0 where none does."""
        if self.l0_controller is not None:
            return self.l0_controller.value
        return 0.0 if self.objective.setting is None else float(getattr(self.config.own, self.objective.setting))

    @cached_property
    def held_out(self) -> Float[Tensor, "row input_width"] | None:
        """Inputs of rows that are not trained on, as the model sees inputs in training."""
        rows = self.data.held_out
        return None if rows is None else self._corrupted(Batch(rows), HELD_OUT_DRAW).x

    def finish(self) -> None:
        """The last change to the model."""
        held_out = self.held_out
        sample = self._corrupted(self._sample(self.steps), self.steps).x if held_out is None else held_out
        self.objective.finish(self.model, sample)
        if self.l0_controller is not None and held_out is not None:
            self.l0_controller.end(self._l0_of(held_out))

    def advance(
        self, x: Float[Tensor, "batch d_in"], targets: Float[Tensor, "batch d_out"] | None = None
    ) -> str | None:
        """One optimiser step on a batch. Returns a note for the display where a row of the curve ends.

        Raises `OptionError` where the loss is no number any more.
        """
        rate = learning_rate(self.settings, self.step, self.objective.refit)
        loss = self._optimise(*self._corrupted(Batch(x, targets), self.step, self.processes.rank), rate)
        self.curve.add(loss, self.data.variance, self._batch(x))
        if self.step % self.curve.every and self.step != self.steps:
            return None
        dead = float((self.silent >= self.settings.dead_after).float().mean())
        row = self.curve.close_row(self.step, self.n_examples, dead, rate)
        if not math.isfinite(row["loss"]):
            raise OptionError(f"training diverged: the loss is {row['loss']} at step {self.step}", "try a lower --lr")
        return f"FVU {row['fvu']:.3f}, L0 {row['l0']:.1f}, dead {100 * dead:.1f} %"

    def _optimise(self, x: Tensor, targets: Tensor | None, rate: float) -> StepLoss:
        self._revive()
        inputs = StepInputs(x, self.step, self.data.variance, self.silent, self.sparsity, targets)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.settings.autocast):
            loss = self.objective.loss(self.model, inputs)
        self.optimiser.forget_gradients()
        loss.total.backward()
        self.processes.average_gradients(self.optimiser.parameters)
        loss = merged(loss, self.processes)
        unit = self.objective.keeps_unit_atoms(self.step)
        if unit:
            self._remove_parallel_gradient()
        if self.settings.weight_decay:
            self._decay_weights(self.settings.weight_decay)
        if self.settings.grad_clip:
            self.optimiser.clip(self.settings.grad_clip)
        self.optimiser.step(rate)
        if unit:
            self._normalise_atoms()
        self.objective.after_step(self.model, loss)
        if self.l0_controller is not None and not self.objective.refitting(self.step):
            self._control_l0(self.l0_controller, loss, self._batch(x))
        self.silent += self._batch(x)
        self.silent[loss.firing > 0] = 0
        self.step += 1
        return loss

    def _control_l0(self, controller: L0Controller, loss: StepLoss, batch: int) -> None:
        settings = self.objective.settings_at(controller.value)
        loss.terms.update((name, torch.tensor(value)) for name, value in settings.items())
        if self.held_out is None:
            controller.update(float(loss.firing.sum()) / batch, self._cost(loss), self.step)
        elif self.step % HELD_OUT_EVERY == 0:
            controller.update(self._l0_of(self.held_out), self._cost(loss), self.step, HELD_OUT_EVERY)

    def _l0_of(self, rows: Tensor) -> float:
        with torch.no_grad():
            codes = self.model.encode(rows)
        return float((codes.abs() > self.model.config.firing_threshold).sum()) / len(rows)

    def _cost(self, loss: StepLoss) -> float:
        """The loss over what it would be if no feature ever fired."""
        nothing = self.objective.n_reconstructions * self.data.variance / self.model.d_out
        return float(loss.total.detach()) / nothing

    def _corrupted(self, batch: Batch, step: int, part: int = 0) -> Batch:
        """What the model is given to rebuild the batch from, in the space of training: the batch itself without
        corruption. Of two captures either may be the input. Draws follow from the run's seed, the step and the `part`
        of a batch that this is: rows that all processes look at get the same everywhere."""
        swaps = self.data.is_captured_twice and batch.targets is not None
        if self.corruption is None and not swaps:
            return batch
        generator = step_generator(self.settings, step, batch.x.device, part, OF_CORRUPTION)
        x, targets = batch
        if swaps and targets is not None:
            swapped = torch.rand(len(x), 1, generator=generator, device=x.device) < 0.5
            x, targets = torch.where(swapped, targets, x), torch.where(swapped, x, targets)
        if self.corruption is None:
            return Batch(x, targets)
        transform = self.data.transform
        noisy, levels = self.corruption.draw(transform.invert(x), generator)
        inputs = transform.apply(noisy)
        if self.settings.noise_conditioning:
            inputs = torch.cat([inputs, levels.to(inputs).unsqueeze(1)], dim=1)
        return Batch(inputs, x if targets is None else targets)

    def _sample(self, step: int) -> Batch:
        table = self.data.table
        rng = np.random.default_rng([self.settings.seed, 1, step])
        among = table.sample_rows() if isinstance(table, StreamedTable) else table.n_rows
        size = min(SAMPLE_ROWS, among if isinstance(among, int) else len(among))
        return self.data.batch(np.sort(rng.choice(among, size=size, replace=False)))

    def _revive(self) -> None:
        if not self.objective.resamples(self.step):
            return
        dead = torch.nonzero(self.silent >= self.settings.dead_after).squeeze(1)
        if len(dead) == 0:
            return
        assert isinstance(self.model, LinearAutoencoder)
        assert isinstance(self.objective, LinearObjective)
        most = max(1, round(self.settings.n_features * self.objective.resampled_at_once))
        if len(dead) > most:  # the longest silent first
            dead = dead[torch.argsort(self.silent[dead], descending=True, stable=True)[:most]]
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        drawn_from = self._corrupted(self._sample(self.step), self.step)
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


def merged(loss: StepLoss, processes: Processes) -> StepLoss:
    """Numbers of the whole batch in the place of a process's part's: means of losses and terms, sums of firings."""
    if processes.size == 1:
        return loss
    means = (loss.total, loss.squared_error, *loss.terms.values())
    numbers = processes.sum(torch.cat([torch.stack([m.detach().double() for m in means]), loss.firing.double()]))
    total, squared, *terms = (numbers[: len(means)] / processes.size).float()
    return replace(
        loss,
        total=total,
        squared_error=squared,
        firing=numbers[len(means) :].to(loss.firing.dtype),
        terms=dict(zip(loss.terms, terms, strict=True)),
    )
