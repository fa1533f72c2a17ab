"""How sparsely and how well SAEs trained with the defaults reconstruct images that they have not seen.

    python benchmarks/image_quality.py --images MNIST_FOLDER [--seeds 0 1 2] [--only topk relu] [--textbook]
    python benchmarks/image_quality.py --images embedded:digits --features 192
    python benchmarks/image_quality.py --images embedded:photos --patch 8 --image-mode colour --features 256

Only the width and the sparsity setting are given; everything else is the default. Trained on the training split and
evaluated on the test split, or on 90 % and 10 % of the items where there is none. Prints wall and CPU seconds of
training (its CPU time includes every thread), L0, FVU, dead features, and PCA's FVU with as many components. --textbook
adds the plain recipe (mean-reduced L1 on raw inputs, free decoder, Adam 1e-3, batch 256, 5 epochs, nothing revived),
whose penalty hardly constrains at the values that look natural.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saescope.baselines.pca import pca_baseline
from saescope.checkpoints import load_sae, read_config
from saescope.evaluation import evaluate
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import Source
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import DividedSource, open_to_train

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "topk": [{"k": 8}, {"k": 16}, {"k": 32}],
    "relu": [{"l1": 1.0}, {"l1": 3.0}, {"l1": 8.0}],
    "kl": [{"rho": 0.02}, {"rho": 0.05}],
    "deep": [{"k": 8}, {"k": 16}],
}
TEXTBOOK = [
    {"l1": value, "l1_reduction": "mean", "steps": 1175, "batch_size": 256} for value in (1e-4, 1e-3, 1e-1, 1.0)
]


@dataclass(frozen=True)
class Row:
    """One trained SAE on the test images."""

    wall: float
    cpu: float
    l0: float
    fvu: float
    dead: float


def measure(data: DividedSource, judge: Source, config: TrainingConfig, folder: Path) -> Row:
    """Trains one SAE and evaluates it."""
    wall, cpu = time.perf_counter(), time.process_time()
    train(data.table, config, folder, description=data.description, device="cpu")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    metrics = evaluate(load_sae(folder), judge, read_config(folder)).metrics
    l0, fvu, dead = metrics["l0"], metrics["fvu"], metrics["n_dead"]
    assert l0 is not None
    assert fvu is not None
    assert dead is not None
    return Row(wall, cpu, l0, fvu, dead / config.n_features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="as for saescope train")
    parser.add_argument("--patch", type=int)
    parser.add_argument("--image-mode", choices=["grey", "colour"])
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--value", type=float, nargs="*", help="sparsity values in place of the built-in ones")
    parser.add_argument("--textbook", action="store_true")
    arguments = parser.parse_args()
    options = SourceOptions(images=arguments.images, patch=arguments.patch, image_mode=arguments.image_mode)
    data, judge = open_to_train(options), open_source(options, "evaluate")
    judged_by = judge.table() if data.judged_by is None else data.judged_by
    pca = pca_baseline(data.table, judged_by, range(data.table.d_in + 1))["fvu"].to_pylist()
    plan: list[tuple[str, dict[str, Any]]] = []
    for arch in arguments.only:
        name = next(iter(SETTINGS[arch][0]))
        given = [{name: int(v) if name == "k" else v} for v in arguments.value or ()]
        plan += [(arch, setting) for setting in given or SETTINGS[arch]]
    if arguments.textbook:
        plan += [("relu", setting) for setting in TEXTBOOK]
    print("| architecture | setting | seed | wall s | CPU s | L0 | active | FVU | PCA at L0 | dead |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for number, (arch, setting) in enumerate(plan):
            rows = []
            shown = ", ".join(f"{key} {value}" for key, value in setting.items())
            for seed in arguments.seeds:
                config = TrainingConfig(arch, n_features=arguments.features, seed=seed, **setting)
                row = measure(data, judge, config, Path(scratch) / f"{number}-{seed}")
                rows.append(row)
                print(line(arch, shown, str(seed), row, arguments.features, pca), flush=True)
            if len(rows) > 1:
                fields = ("wall", "cpu", "l0", "fvu", "dead")
                median = Row(*(statistics.median(getattr(row, field) for row in rows) for field in fields))
                print(line(arch, shown, "median", median, arguments.features, pca), flush=True)


def line(arch: str, setting: str, seed: str, row: Row, n_features: int, pca: list[float]) -> str:
    """A row of the table that is printed; `pca` is PCA's FVU by its number of components."""
    reference = pca[min(math.ceil(row.l0), len(pca) - 1)]
    return (
        f"| {arch} | {setting} | {seed} | {row.wall:.0f} | {row.cpu:.0f} | {row.l0:.1f} | {row.l0 / n_features:.1%} | "
        f"{row.fvu:.4f} | {reference:.4f} | {row.dead:.1%} |"
    )


if __name__ == "__main__":
    main()
