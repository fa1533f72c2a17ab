"""What the one pass and a whole build cost over bare encoding, and how much memory they take.

    python benchmarks/one_pass.py --images MNIST_FOLDER [--features 1024 16384] [--repeats 5] [--no-memory]

Prints, for codes of several densities, wall and CPU time as ratios to a bare loop that only encodes the same float32
array in memory, with the same encoder, at the fastest of several batch sizes:

* pass: all per-feature statistics and examples (no decoding, no item encoding, no co-activations);
* build: everything up to the published entry, less the time spent encoding the kept items as PNG.

Bare loop, pass and build take turns, and the ratio is of the fastest of each. The memory part runs builds over more and
more streamed positions, each in a process of its own, and prints its peak of anonymous memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from memory import print_peaks, ready

from saescope.autoencoders import architecture
from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints.formats import native
from saescope.precompute import build_entry
from saescope.precompute.one_pass.run import PassOptions, run_pass
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import ActivationBatch, ActivationTable
from saescope.store.format.source import ActivationDescription

BATCHES = (512, 1024, 2048, 4096, 8192)
MEMORY_ITEMS = (8_000, 32_000, 128_000)
"""Items of the streams whose memory is measured, 16 positions each."""


def make_sae(arch: str, n_features: int, x: torch.Tensor, *, k: int = 16, active: float = 0.05) -> Autoencoder:
    """Atoms are random directions; a ReLU code's biases let each feature fire at `active` of the positions."""
    torch.manual_seed(0)
    kind = architecture(arch)
    sae = kind.module(kind.config(d_in=x.shape[1], n_features=n_features, **({"k": k} if arch == "topk" else {})))
    atoms = torch.nn.functional.normalize(torch.randn(n_features, x.shape[1]), dim=1)
    mean = x.mean(0)
    bias = -mean @ atoms.T
    if arch == "relu":
        for part in range(0, n_features, 1024):
            piece = slice(part, part + 1024)
            bias[piece] -= ((x - mean) @ atoms[piece].T).quantile(1 - active, dim=0)
    with torch.no_grad():
        sae.encoder.copy_(atoms)
        sae.W_dec.copy_(atoms)
        sae.b_dec.copy_(mean)
        sae.b_enc.copy_(bias)
    return sae.eval().requires_grad_(False)


class Stopwatch:
    """Fastest wall and CPU seconds of several runs."""

    def __init__(self) -> None:
        self.wall = self.cpu = float("inf")

    def __call__(self, run: Callable[[], Any], less: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        left_out = less()
        self.wall, self.cpu = min(self.wall, wall - left_out[0]), min(self.cpu, cpu - left_out[1])


@torch.inference_mode()
def bare(sae: Autoencoder, x: torch.Tensor, batch: int) -> None:
    for start in range(0, len(x), batch):
        piece = x[start : start + batch]
        if sae.select(piece) is None:
            sae.encode(piece)


class TimedItems:
    """A source that keeps count of the time it spends on encoding items."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.wall = self.cpu = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def item_table(self, item_ids: np.ndarray) -> pa.Table:
        wall, cpu = time.perf_counter(), time.process_time()
        table = self.source.item_table(item_ids)
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu
        return table


def compare(name: str, sae: Autoencoder, source: Any, x: torch.Tensor, repeats: int) -> None:
    watches = {b: Stopwatch() for b in BATCHES}
    one_pass, build = Stopwatch(), Stopwatch()
    timed = TimedItems(source)
    l0 = 0.0
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sae"
        native.save(sae, checkpoint)
        warm = open_source(SourceOptions(images="embedded:digits"))  # compiles the loops before anything is timed
        small = Path(folder) / "warm"
        native.save(make_sae("topk", 16, warm.table().rows(np.arange(500)), k=2), small)
        build_entry(small, warm, Path(folder) / "warm-store", sae_id="warm")
        native.save(make_sae("relu", 16, warm.table().rows(np.arange(500))), small)
        build_entry(small, warm, Path(folder) / "warm-store", sae_id="warm")
        for i in range(repeats):
            for batch, watch in watches.items():
                watch(lambda batch=batch: bare(sae, x, batch))
            results = []
            one_pass(lambda: results.append(run_pass(sae, source, PassOptions(), decode=False)))  # noqa: B023
            l0 = results[0].state.n_firing.sum() / results[0].n_positions
            store = Path(folder) / f"store{i}"
            build(
                lambda: build_entry(checkpoint, timed, store, sae_id="it"),  # noqa: B023
                less=lambda: (timed.wall, timed.cpu),
            )
    wall, cpu = min(w.wall for w in watches.values()), min(w.cpu for w in watches.values())
    print(
        f"{name:24} L0 {l0:7.1f}  bare {wall:6.2f} s  "
        f"pass {one_pass.wall / wall:5.2f}x (CPU {one_pass.cpu / cpu:5.2f}x)  "
        f"build {build.wall / wall:5.2f}x (CPU {build.cpu / cpu:5.2f}x)",
        flush=True,
    )


class Stream:
    """Random activations made as they are read: nothing of them stays in memory."""

    kind = "activations"
    d_in = 64
    positions_per_item = 16
    data_sha256 = "0" * 64

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def batches(self, start_item: int = 0, items_per_batch: int | None = None) -> Iterator[ActivationBatch]:
        step = items_per_batch or 64
        for start in range(start_item, self.n_items, step):
            ids = np.arange(start, min(start + step, self.n_items))
            generator = torch.Generator().manual_seed(start)
            yield ActivationBatch(ids, torch.randn(len(ids), self.positions_per_item, self.d_in, generator=generator))

    def table(self, items: np.ndarray | None = None) -> ActivationTable:
        raise NotImplementedError("a stream has no random access")

    def item_table(self, item_ids: np.ndarray) -> pa.Table:
        return pa.table({"item_id": item_ids})

    def metadata(self) -> dict[str, Any]:
        return {}

    def describe(self) -> ActivationDescription:
        n_positions = self.n_items * 16
        return ActivationDescription(n_items=self.n_items, n_positions=n_positions, data_sha256="0" * 64)


def memory_child(n_items: int) -> None:
    """A build over a stream of that many items, to be watched."""
    x = next(iter(Stream(256).batches(0, 256))).activations.reshape(-1, 64)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sae"
        native.save(make_sae("relu", 1024, x, active=0.02), checkpoint)
        ready()
        build_entry(checkpoint, Stream(n_items), Path(folder) / "store", sae_id="it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="folder with the four MNIST files")
    parser.add_argument("--features", type=int, nargs="+", default=[1024, 16384])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_child:
        memory_child(args.memory_child)
        return
    if args.images:
        source = open_source(SourceOptions(images=args.images, split="train"))
        x = source.table().rows(np.arange(source.n_items))
        for n_features in args.features:
            for k in (16, 32, 64):
                compare(
                    f"topk {n_features} k={k}", make_sae("topk", n_features, x[:4096], k=k), source, x, args.repeats
                )
            sparse = make_sae("relu", n_features, x[:4096], active=60 / n_features)
            compare(f"relu {n_features} sparse", sparse, source, x, args.repeats)
            if n_features <= 4096:
                compare(f"relu {n_features} dense", make_sae("relu", n_features, x[:4096], active=0.7), source, x, 2)
    if not args.no_memory:
        print_peaks("1,024 features", "positions", Stream.positions_per_item, __file__, MEMORY_ITEMS, args.repeats)


if __name__ == "__main__":
    main()
