"""Every trainable architecture on one source: a curve of reconstruction over sparsity each, all in one store.

    python benchmarks/architecture_curves.py --store curves [--l0 8 16 32 64] [--only topk relu ...] --
        SOURCE AND TRAINING OPTIONS of `saescope sweep`

    python benchmarks/architecture_curves.py --store mnist-curves -- --images MNIST_FOLDER --n-features 512 --steps 2000
    python benchmarks/architecture_curves.py --store smollm2-curves --l0 16 32 64 --
        --texts embedded:python --max-tokens 200000 --model embedded:smollm2 --hook blocks.15.hook_resid_post
        --n-features 2048 --steps 1000

Each architecture is swept over the same L0s: by its k where it has one, else towards it (`--parameter target-l0`); the
rest is the default. An entry that the store holds already is not trained again. Prints, for every SAE, the L0 that it
came to, FVU and dead features on data that was not trained on. `saescope serve --store curves` shows them as curves,
on the page Sparsity.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from saescope.store import FeatureStore

SWEEPS: dict[str, list[str]] = {
    "topk": [],
    "batchtopk": [],
    "matryoshka": [],
    "abstopk": [],
    "groupmax": [],
    "relu": [],
    "tied": ["--arch", "relu", "--tied"],
    "p-anneal": ["--arch", "relu", "--p-end", "0.5"],
    "gated": [],
    "jumprelu": [],
    "kl": [],
    "deep": [],
}
"""Name of the sweep -> what makes it, where that is not its name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--l0", type=float, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--only", nargs="*", choices=list(SWEEPS), default=list(SWEEPS))
    parser.add_argument("options", nargs="+", metavar="OPTION", help="of `saescope sweep`, after --")
    arguments = parser.parse_args()
    for name in arguments.only:
        command = [sys.executable, "-m", "saescope.cli", "sweep", *(SWEEPS[name] or ["--arch", name])]
        command += ["--parameter", "target-l0", "--values", ",".join(f"{value:g}" for value in arguments.l0)]
        command += ["--store", str(arguments.store), "--name", name, *arguments.options]
        subprocess.run(command, check=True, stdout=sys.stderr)
    report(arguments.store)


def report(store: Path) -> None:
    """Print a line for each sweep: L0, FVU and dead features of its SAEs, sparsest first."""
    for sweep in sorted(FeatureStore(store).sweeps(), key=lambda sweep: list(SWEEPS).index(sweep.name)):
        cells = []
        for entry in sweep.entries:
            l0, dead, fvu = (entry.metrics[name] or 0.0 for name in ("l0", "n_dead", "fvu"))
            cells.append(f"{l0:.1f}: {fvu:.3f}" + (f" ({dead / entry.n_features:.1%} dead)" if dead else ""))
        print(f"| {sweep.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
