"""What a training step costs beside a bare torch loop and beside SAELens' own trainer.

    python benchmarks/training_speed.py [--saelens-python VENV/bin/python] [--architectures topk,relu,jumprelu]
        [--width 576] [--features 8192] [--batch 4096] [--k 32] [--l0 64] [--steps 6]

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 sae-lens==6.54.12 transformer-lens==3.9.0

On random activations. For TopK the bare loop has the same shapes: encoder product, torch.topk, a sparse decode by
`embedding_bag`, mean squared error, autograd, Adam; no penalty, no dead features, no unit norms, no curve. ReLU + L1
and JumpReLU start, here and in SAELens, from the same weights: unit atoms and encoder rows, and biases or thresholds
that let about `--l0` features fire. A run spends all but its first steps near such norms and near the L0 that it ends
with (`--l0 0` leaves the first weights alone, half of all features firing). Contenders take turns step by step, so that
other work on the machine meets them alike, each with as many threads; ratios are of medians of CPU time per step (every
thread's) and of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from saescope.autoencoders.jumprelu.module import JumpreluAutoencoder
from saescope.autoencoders.settings.run import DataSize
from saescope.training import TrainingConfig
from saescope.training.data import TrainingData
from saescope.training.input_transform import fit
from saescope.training.run import Run

PEER = Path(__file__).parent / "peers" / "saelens_training.py"
Times = tuple[float, float, float]
"""Wall seconds, CPU seconds and L0 of a step."""


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


CPU = torch.device("cpu")


def bare_step(
    d_in: int, n_features: int, k: int, *, sparse: bool, device: torch.device = CPU
) -> Callable[[torch.Tensor], None]:
    """One step of a plain TopK loop."""
    torch.manual_seed(0)
    encoder = torch.nn.Linear(d_in, n_features, device=device)
    decoder = torch.nn.Parameter(encoder.weight.detach().clone())
    bias = torch.nn.Parameter(torch.zeros(d_in, device=device))
    optimiser = torch.optim.Adam([*encoder.parameters(), decoder, bias], lr=1e-4)

    def step(x: torch.Tensor) -> None:
        values, indices = torch.topk(encoder(x), k, dim=1, sorted=False)
        values = torch.relu(values)
        if sparse:
            x_hat = functional.embedding_bag(indices, decoder, per_sample_weights=values, mode="sum") + bias
        else:
            x_hat = torch.zeros(len(x), n_features, device=device).scatter(1, indices, values) @ decoder + bias
        loss = (x - x_hat).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def timed(step: Callable[[torch.Tensor], object], x: torch.Tensor, l0: Callable[[], float]) -> Callable[[], Times]:
    """A step of this process, to be taken by calling."""

    def take() -> Times:
        wall, cpu = time.perf_counter(), time.process_time()
        step(x)
        return time.perf_counter() - wall, time.process_time() - cpu, l0()

    return take


def new_run(name: str, arguments: argparse.Namespace, device: torch.device = CPU) -> tuple[Run, torch.Tensor]:
    """Our run and its batch, with first weights as later ones are: unit norms, and the wanted L0."""
    sparsity: dict[str, Any] = {
        "topk": {"k": arguments.k},
        "relu": {"l1": 1.0, "l1_warmup": 0.0},
        "jumprelu": {"l0_weight": 1.0, "l1_warmup": 0.0},
        "gated": {"l1": 1.0, "l1_warmup": 0.0},
    }[name]
    table = RandomTable(2 * arguments.batch, arguments.width)
    config = TrainingConfig(
        name, n_features=arguments.features, batch_size=arguments.batch, steps=10_000, revival="none", **sparsity
    )
    if name == "topk":
        config = TrainingConfig(
            name, n_features=arguments.features, batch_size=arguments.batch, steps=10_000, **sparsity
        )
    resolved = config.resolve(DataSize(table.n_rows, arguments.width))
    run = Run(resolved, TrainingData(table, fit(table, resolved.run.input_transform), device))
    x = run.data.rows(np.arange(arguments.batch))
    if arguments.l0 and name != "topk":
        with torch.no_grad():
            for rows in (run.model.encoder_rows, run.model.W_dec):
                rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
            z = run.model.pre_activations(x)
            border = torch.quantile(
                z[: min(512, 2**23 // arguments.features)], 1 - arguments.l0 / arguments.features, dim=0
            )
            if isinstance(run.model, JumpreluAutoencoder):
                run.model.threshold.copy_(border)
            else:
                run.model.b_enc.copy_(-border)
    return run, x


class Peer:
    """SAELens' trainer in a process of its own."""

    def __init__(self, python: str, name: str, run: Run, x: torch.Tensor, arguments: argparse.Namespace) -> None:
        self._folder = tempfile.TemporaryDirectory()
        start = {key: run.model.tensors()[key] for key in ("W_enc", "W_dec", "b_enc")} | {"x": x}
        if isinstance(run.model, JumpreluAutoencoder):
            start["threshold"] = run.model.threshold
        path = Path(self._folder.name) / "start.npz"
        np.savez(path, **{key: value.detach().numpy() for key, value in start.items()})
        sizes = [str(v) for v in (arguments.width, arguments.features, arguments.batch)]
        sparsity = str(arguments.k if name == "topk" else 1.0)
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        self._process = subprocess.Popen(
            [python, str(PEER), "steps", name, *sizes, sparsity, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": ""},
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError("SAELens' trainer did not start")

    def take(self) -> Times:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("["):
                wall, cpu, l0 = json.loads(line)
                return wall, cpu, l0
        raise RuntimeError("SAELens' trainer ended")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


def compare(name: str, arguments: argparse.Namespace) -> None:
    d_in, n, batch, k = arguments.width, arguments.features, arguments.batch, arguments.k
    run, x = new_run(name, arguments)
    latest = {"l0": 0.0}
    add = run.curve.add

    def watched(loss: Any, variance: float, size: int) -> None:
        latest["l0"] = float(loss.firing.sum()) / size
        add(loss, variance, size)

    run.curve.add = watched  # type: ignore[method-assign]
    contenders = {"saescope": timed(run.advance, x, lambda: latest["l0"])}
    if name == "topk":
        contenders["bare, embedding_bag decode"] = timed(bare_step(d_in, n, k, sparse=True), x, lambda: float(k))
        contenders["bare, dense decode"] = timed(bare_step(d_in, n, k, sparse=False), x, lambda: float(k))
    peer = Peer(arguments.saelens_python, name, run, x, arguments) if arguments.saelens_python else None
    if peer is not None:
        contenders["SAELens"] = peer.take
    times: dict[str, list[Times]] = {each: [] for each in contenders}
    for turn in range(arguments.steps + 2):
        for each, take in contenders.items():
            spent = take()
            if turn >= 2:
                times[each].append(spent)
    if peer is not None:
        peer.close()
    medians = {each: [statistics.median(t[i] for t in own) for i in range(3)] for each, own in times.items()}
    print(f"{name}: width {d_in}, {n} features, batch {batch}")
    print("| loop | L0 | wall s/step | CPU s/step | positions per CPU s | speed of saescope by CPU | by wall |")
    print("|---|---|---|---|---|---|---|")
    own = medians["saescope"]
    for each, (wall, cpu, l0) in medians.items():
        ratios = f"{cpu / own[1]:.2f} | {wall / own[0]:.2f}"
        print(f"| {each} | {l0:.0f} | {wall:.3f} | {cpu:.3f} | {batch / cpu:,.0f} | {ratios} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 576), ("features", 8192), ("batch", 4096), ("k", 32), ("l0", 64), ("steps", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--architectures", default="topk,relu,jumprelu")
    parser.add_argument("--saelens-python", metavar="PYTHON", help="of the environment with SAELens")
    arguments = parser.parse_args()
    for name in arguments.architectures.split(","):
        compare(name, arguments)


if __name__ == "__main__":
    main()
