"""Superposition: how much of 256 true features, which share 64 dimensions, dictionaries of several widths find.

    python benchmarks/superposition.py [--widths 32 64 128 256 512] [--p 0.02 0.05 0.1] [--steps 3000] [--seed 0]

Each activation is a sum of the true features that are on, each with probability p. For every p and width a TopK SAE is
trained, k being the number of true features that are on at a time on average. Printed: L0, FVU and dead features on
items held out, the mean over true features of the largest cosine with an atom, and how many have an atom of their own
(cosine above 0.9, one to one).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from saescope.checkpoints import load_sae, read_config
from saescope.evaluation import judge
from saescope.sources import SourceOptions
from saescope.training import TrainingConfig, train_sweep
from saescope.workflows.divided_source import open_to_train

TRUE, WIDTH = 256, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--p", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| p | on at a time | width | L0 | FVU | dead | mean largest cosine | found |")
    print("|---|---|---|---|---|---|---|---|")
    for p in given.p:
        data = open_to_train(SourceOptions(toy=f"{TRUE}x{WIDTH}:p={p:g}"))
        on = max(1, round(p * TRUE))
        widths = [width for width in given.widths if width >= on]
        configs = [TrainingConfig("topk", width, k=on, steps=given.steps, seed=given.seed) for width in widths]
        with tempfile.TemporaryDirectory() as scratch:
            folders = [Path(scratch) / str(width) for width in widths]
            train_sweep(data.table, configs, folders, description=data.description, device="cpu")
            for width, folder in zip(widths, folders, strict=True):
                found = judge(load_sae(folder), data.source, read_config(folder)).metrics
                print(
                    f"| {p:g} | {p * TRUE:.1f} | {width} | {found['l0']:.1f} | {found['fvu']:.3f} "
                    f"| {found['dead_fraction']:.0%} | {found['mmcs_true_to_learned']:.3f} "
                    f"| {found['n_true_matched']:.0f} of {TRUE} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
