"""What a penalty on the encoder's Jacobian costs in reconstruction, and what it takes from the Jacobian.

    python benchmarks/contraction.py --images MNIST_FOLDER|embedded:digits [--units 32] [--contraction 0,DEFAULT]
        [-- NAME=VALUE ...]

NAME=VALUE are further settings of `saescope train`, for all of them alike. An undercomplete autoencoder and contractive
ones of the same widths are trained on the training split and judged on the test split (data without splits: nine tenths
and the rest). Printed are FVU; ||df/dx||_F, the mean over 512 test positions; and the same with each unit over its
standard deviation on them, which no scale of the codes can change.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from undercomplete import settings

from saescope.checkpoints import load_sae
from saescope.metrics.jacobian import N_POSITIONS
from saescope.sources import SourceOptions, has_splits, open_source
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import open_to_train


def judge(sae: Any, x: torch.Tensor) -> tuple[float, float, float]:
    """FVU over all rows; the Jacobian's norm, and that over the units' deviations, on rows spread over them."""
    missed = 0.0
    with torch.no_grad():
        for part in x.split(1000):
            missed += float((part - sae(part).reconstruction).square().sum())
        some = x[:: max(1, len(x) // N_POSITIONS)][:N_POSITIONS]
        squares = torch.cat([sae.encoder_jacobian(part).square().sum(2) for part in some.split(32)])
        spread = sae.encode(some).var(0)
    relative = (squares / spread).sum(1).sqrt().mean()
    return missed / float((x - x.mean(0)).square().sum()), float(squares.sum(1).sqrt().mean()), float(relative)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--contraction", default="0,default", help="weights, or `default`")
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    options = SourceOptions(images=arguments.images)
    data = open_to_train(options)
    judged = data.judged_by or open_source(options, "evaluate" if has_splits(options) else "train").table()
    x, shared = judged.rows(np.arange(judged.n_rows)), settings(arguments.options)
    runs: dict[str, tuple[str, dict[str, Any]]] = {"undercomplete": ("undercomplete", {})}
    for word in arguments.contraction.split(","):
        runs[f"contraction {word}"] = ("contractive", {} if word == "default" else {"contraction": float(word)})
    print("| run | FVU | Jacobian | over deviations |\n|---|---|---|---|")
    for name, (kind, own) in runs.items():
        config = TrainingConfig(kind, arguments.units, **shared, **own)
        with tempfile.TemporaryDirectory() as scratch:
            folder = train(data.table, config, Path(scratch) / "run", description=data.description, device="cpu")
            fvu, norm, relative = judge(load_sae(folder), x)
        print(f"| {name} | {fvu:.4f} | {norm:.3f} | {relative:.2f} |", flush=True)


if __name__ == "__main__":
    main()
