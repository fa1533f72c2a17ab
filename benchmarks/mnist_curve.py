"""From dense codes to under 1 % active: sweeps on MNIST with the defaults, beside PCA.

    python benchmarks/mnist_curve.py --images MNIST_FOLDER [--store mnist-curve] [--features 1024]

Runs `saescope sweep` for each architecture below (an entry that the store holds already is not trained again) and
prints, for every SAE, L0, the active fraction, dead features and FVU on the 10,000 test images, and the FVU of PCA with
as many components as the L0, rounded up. `saescope serve --store mnist-curve` shows the same as curves.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

from saescope.baselines.pca import pca_baseline
from saescope.sources import SourceOptions, open_source
from saescope.store import FeatureStore

SWEEPS = {
    "topk": (4, 8, 16, 64),
    "relu": (0.1, 1, 3, 10),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="a MNIST-style folder")
    parser.add_argument("--store", type=Path, default=Path("mnist-curve"))
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--only", nargs="*", choices=list(SWEEPS), default=list(SWEEPS))
    arguments = parser.parse_args()
    for arch in arguments.only:
        command = [sys.executable, "-m", "saescope.cli", "sweep", "--images", arguments.images, "--arch", arch]
        command += ["--n-features", str(arguments.features), "--values", ",".join(f"{v:g}" for v in SWEEPS[arch])]
        subprocess.run([*command, "--store", str(arguments.store), "--name", "mnist"], check=True, stdout=sys.stderr)
    report(arguments.store, arguments.images)


def report(store: Path, images: str) -> None:
    """Print every entry of `store`, densest first within its architecture."""
    training, test = (open_source(SourceOptions(images=images), purpose) for purpose in ("train", "evaluate"))
    pca = pca_baseline(training.table(), test.table(), range(1, training.d_in + 1))["fvu"].to_pylist()
    print("| SAE | L0 | active | dead | FVU | PCA's FVU |")
    print("|---|---|---|---|---|---|")
    entries = FeatureStore(store).entries()
    for entry in sorted(entries, key=lambda e: (e.manifest.architecture, -(e.metrics["l0"] or 0.0))):
        l0, dead, fvu = (entry.metrics[name] for name in ("l0", "n_dead", "fvu"))
        assert l0 is not None
        assert dead is not None
        components = min(max(1, math.ceil(l0)), training.d_in)
        print(
            f"| {entry.sae_id.removeprefix('mnist-')} | {l0:.1f} | {l0 / entry.n_features:.1%} | "
            f"{dead / entry.n_features:.1%} | {fvu:.4f} | {pca[components - 1]:.4f} |"
        )


if __name__ == "__main__":
    main()
