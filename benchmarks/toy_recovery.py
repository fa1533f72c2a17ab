"""How much of a known dictionary each trainable architecture finds.

    python benchmarks/toy_recovery.py [--only relu topk ...] [--seeds 0 1 2] [--toy 256x64:p=0.02] [--features 256]
    python benchmarks/toy_recovery.py --only relu --value 1 2 3 --lr 0.004

The toy source has 256 true features in 64 dimensions, each on with probability 0.02, coefficients uniform in
[0.5, 1.5]: 5.1 are on at a time. Only the width and the sparsity are given, everything else is the default, but for
matryoshka: its smallest group has 64 features where the default has 8, which cannot rebuild 256 equal features without
mixing them (0.957). Prints the mean max cosine similarity from the true to the learned dictionary (what was found) and
back (what of the learned is true), matched pairs, L0 and FVU on items held out, dead features, and wall and CPU seconds
of training. Exits with 1 where an architecture with a bar misses it in the first of the two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from saescope.autoencoders.registry import trainable
from saescope.checkpoints import load_sae, read_config
from saescope.evaluation import judge
from saescope.sources import SourceOptions
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import open_to_train

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("l1", {"l1": 2.0}),
    "tied": ("l1", {"architecture": "relu", "tied": True, "l1": 2.0}),
    "gated": ("l1", {"l1": 2.0}),
    "jumprelu": ("l0_weight", {"l0_weight": 1.0}),
    "topk": ("k", {"k": 5}),
    "batchtopk": ("k", {"k": 5}),
    "matryoshka": ("k", {"k": 5, "group_sizes": (64, 64, 128)}),
    "abstopk": ("k", {"k": 5}),
    "groupmax": ("k", {"k": 5}),
    "kl": ("rho", {"rho": 0.02}),
}
"""Name -> its sparsity option, and what is given beside the width."""
BARS = {"relu": 0.99, "topk": 0.99} | dict.fromkeys(("tied", "gated", "jumprelu", "batchtopk", "matryoshka"), 0.97)


def main() -> int:
    known = [name for name, (_, given) in SETTINGS.items() if given.get("architecture", name) in trainable()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=known, default=known)
    parser.add_argument("--value", type=float, nargs="*", help="sparsities in place of the built-in one")
    parser.add_argument("--toy", default="256x64:p=0.02")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="optimiser steps, the default if left out")
    parser.add_argument("--lr", type=float, help="peak learning rate, the default if left out")
    arguments = parser.parse_args()
    data = open_to_train(SourceOptions(toy=arguments.toy))
    missed = []
    columns = "architecture, setting, seed, true to learned, learned to true, matched, L0, FVU, dead, wall s, CPU s"
    print(f"| {columns.replace(', ', ' | ')} |")
    print("|---" * 11 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only:
            option, given = SETTINGS[name]
            overrides = {n: v for n in ("steps", "lr") if (v := getattr(arguments, n)) is not None}
            for value in arguments.value or (given[option],):
                for seed in arguments.seeds:
                    settings = {"architecture": name, **given, option: int(value) if option == "k" else value}
                    settings |= overrides
                    config = TrainingConfig(n_features=arguments.features, seed=seed, **settings)
                    folder = Path(scratch) / f"{name}-{value:g}-{seed}"
                    wall, cpu = time.perf_counter(), time.process_time()
                    train(data.table, config, folder, description=data.description, device="cpu")
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                    found = judge(load_sae(folder), data.source, read_config(folder)).metrics
                    recovered = found["mmcs_true_to_learned"] or 0.0
                    print(
                        f"| {name} | {option} {value:g} | {seed} | {recovered:.4f} "
                        f"| {found['mmcs_learned_to_true']:.4f} | {found['n_true_matched']:.0f} | {found['l0']:.2f} "
                        f"| {found['fvu']:.4f} | {found['dead_fraction']:.1%} | {wall:.0f} | {cpu:.0f} |",
                        flush=True,
                    )
                    if recovered < BARS.get(name, 0.0):
                        missed.append(f"{name}, seed {seed}: {recovered:.4f} is below {BARS[name]}")
    for line in missed:
        print(line)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
