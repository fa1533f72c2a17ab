"""What an undercomplete autoencoder reaches with the defaults, beside PCA of as many components.

    python benchmarks/undercomplete.py --images MNIST_FOLDER [--units 32] [--seeds 0,1,2] [--threads 2] [-- OPTIONS]

OPTIONS are further settings of `saescope train`, as NAME=VALUE: `-- steps=2000 activation=leaky_relu`. It is trained on
the training split and judged on the test split (data without splits: nine tenths and the rest). Printed are FVU in raw
units and the seconds of training, measuring the data included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saescope.baselines.pca import pca_baseline
from saescope.checkpoints import load_sae
from saescope.sources import SourceOptions, has_splits, open_source
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import open_to_train


def settings(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE each, the value as JSON or as it stands."""
    found: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in words):
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options = SourceOptions(images=arguments.images)
    data = open_to_train(options)
    judged = data.judged_by or open_source(options, "evaluate" if has_splits(options) else "train").table()
    x = judged.rows(np.arange(judged.n_rows))
    pca = pca_baseline(data.table, judged, [arguments.units]).to_pylist()[0]
    print(f"PCA, {arguments.units} components: FVU {pca['fvu']:.4f}", flush=True)
    for seed in map(int, arguments.seeds.split(",")):
        config = TrainingConfig("undercomplete", arguments.units, seed=seed, **settings(arguments.options))
        with tempfile.TemporaryDirectory() as scratch:
            started = time.perf_counter()
            folder = train(data.table, config, Path(scratch) / "run", description=data.description, device="cpu")
            seconds = time.perf_counter() - started
            with torch.no_grad():
                missed = sum(
                    float((part - load_sae(folder)(part).reconstruction).square().sum()) for part in x.split(1000)
                )
        fvu = missed / float((x - x.mean(0)).square().sum())
        print(f"seed {seed}: FVU {fvu:.4f}, {seconds:.0f} s on {arguments.threads} threads", flush=True)


if __name__ == "__main__":
    main()
