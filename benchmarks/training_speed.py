"""What a training step costs beside a bare torch loop.

    python benchmarks/training_speed.py [--width 576] [--features 8192] [--batch 4096] [--k 32] [--steps 6]

TopK on random activations. The bare loop has the same shapes: encoder product, torch.topk, a sparse decode by
`embedding_bag`, mean squared error, autograd, Adam; no penalty, no dead features, no unit norms, no curve. They take
turns step by step, so that other work on the machine meets them alike; ratios are of medians of CPU time per step
(every thread's) and of wall time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from saescope.training import TrainingConfig
from saescope.training.data import TrainingData
from saescope.training.input_transform import fit
from saescope.training.objectives import DataSize, objective
from saescope.training.run import Run


class RandomTable:
    """Activations drawn once."""

    def __init__(self, n_rows: int, d_in: int) -> None:
        self.values = torch.randn(n_rows, d_in, generator=torch.Generator().manual_seed(0))

    @property
    def n_rows(self) -> int:
        return self.values.shape[0]

    @property
    def d_in(self) -> int:
        return self.values.shape[1]

    def rows(self, indices: object) -> torch.Tensor:
        return self.values[torch.as_tensor(indices)]


def bare_step(d_in: int, n_features: int, k: int, *, sparse: bool) -> Callable[[torch.Tensor], None]:
    """One step of a plain loop."""
    torch.manual_seed(0)
    encoder = torch.nn.Linear(d_in, n_features)
    decoder = torch.nn.Parameter(encoder.weight.detach().clone())
    bias = torch.nn.Parameter(torch.zeros(d_in))
    optimiser = torch.optim.Adam([*encoder.parameters(), decoder, bias], lr=1e-4)

    def step(x: torch.Tensor) -> None:
        values, indices = torch.topk(encoder(x), k, dim=1, sorted=False)
        values = torch.relu(values)
        if sparse:
            x_hat = functional.embedding_bag(indices, decoder, per_sample_weights=values, mode="sum") + bias
        else:
            x_hat = torch.zeros(len(x), n_features).scatter(1, indices, values) @ decoder + bias
        loss = (x - x_hat).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 576), ("features", 8192), ("batch", 4096), ("k", 32), ("steps", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    d_in, n, batch, k = arguments.width, arguments.features, arguments.batch, arguments.k
    table = RandomTable(2 * batch, d_in)
    config = TrainingConfig("topk", n_features=n, k=k, batch_size=batch, steps=10_000)
    recipe = objective("topk").resolve(config, DataSize(table.n_rows, d_in))
    assert recipe.input_transform is not None
    run = Run(recipe, TrainingData(table, fit(table, recipe.input_transform), torch.device("cpu")))
    x = run.data.rows(torch.arange(batch).numpy())
    contenders: dict[str, Callable[[torch.Tensor], object]] = {
        "saescope": run.advance,
        "bare, embedding_bag decode": bare_step(d_in, n, k, sparse=True),
        "bare, dense decode": bare_step(d_in, n, k, sparse=False),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(arguments.steps + 2):
        for name, step in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step(x)
            if turn >= 2:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: [statistics.median(t[i] for t in own) for i in (0, 1)] for name, own in times.items()}
    print(f"width {d_in}, {n} features, batch {batch}, k = {k}")
    print("| loop | wall s/step | CPU s/step | positions/s | speed of saescope by CPU | by wall |")
    print("|---|---|---|---|---|---|")
    for name, (wall, cpu) in medians.items():
        own = medians["saescope"]
        print(f"| {name} | {wall:.3f} | {cpu:.3f} | {batch / wall:,.0f} | {cpu / own[1]:.2f} | {wall / own[0]:.2f} |")


if __name__ == "__main__":
    main()
