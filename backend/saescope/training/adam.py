"""Adam (Kingma & Ba 2015) for a handful of parameters: torch's fused kernel without the optimiser object around it.

The object's bookkeeping costs as much as a whole step of a small SAE.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Moments of each parameter; parameters without a gradient rest, moments included."""

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        beta1: float,
        beta2: float,
        epsilon: float,
        rates: Sequence[float] | None = None,
    ) -> None:
        """`rates` multiply the learning rate of each parameter (default: 1 for all)."""
        self.parameters = list(parameters)
        self.rates = [1.0] * len(self.parameters) if rates is None else list(rates)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def forget_gradients(self) -> None:
        """Before a backward pass."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self, largest: float) -> None:
        """Scales all gradients so that their common norm is at most `largest`."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm())
        if norm > largest:
            for gradient in gradients:
                gradient.mul_(largest / norm)

    def step(self, rate: float) -> None:
        """One update at learning rate `rate`, times each parameter's own."""
        moving = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        for own in sorted({self.rates[i] for i in moving}):
            self._step([i for i in moving if self.rates[i] == own], rate * own)

    def _step(self, moving: list[int], rate: float) -> None:
        with torch.no_grad():
            adam(
                [self.parameters[i] for i in moving],
                [g for g in (self.parameters[i].grad for i in moving) if g is not None],
                [self.means[i] for i in moving],
                [self.squares[i] for i in moving],
                [],
                [self.steps[i] for i in moving],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=rate,
                weight_decay=0.0,
                eps=self.epsilon,
                maximize=False,
            )

    def restart_rows(self, parameter: Tensor, rows: Int64[Tensor, " row"], *, usual_steps: bool) -> None:
        """Clears the moments of some rows of a parameter; with `usual_steps` only those of first order.

        With both at 0 the first steps are (1 - beta1) / sqrt(1 - beta2) times as long as the rate, 3.2 by default: the
        step count, and so Adam's correction for short runs, is that of the whole parameter. With `usual_steps` their
        squared gradients become the mean of the other rows' (0 if there are none).
        """
        for index, own in enumerate(self.parameters):
            if own is parameter:
                others = torch.ones(len(own), dtype=torch.bool, device=own.device)
                others[rows] = False
                self.means[index][rows] = 0
                known = usual_steps and bool(others.any())
                self.squares[index][rows] = self.squares[index][others].mean(0) if known else 0.0

    def tensors(self) -> dict[str, Tensor]:
        """All of its state, by name."""
        groups = {"mean": self.means, "square": self.squares, "steps": self.steps}
        return {f"{name}.{index}": t for name, group in groups.items() for index, t in enumerate(group)}
