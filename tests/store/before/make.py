"""Makes the store of version 0.1.0 that lies beside this file, as it was made before labels were names alone.

    PYTHON tests/store/before/make.py OUT

PYTHON is one with that version of saescope. Nothing but its commands and documented calls is used, and no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
STEPS = "--seed 1 --steps 300 --batch-size 128"
DIGITS = f"sweep --images embedded:digits --n-features 5 {STEPS} --name digits --store store"
PHOTOS = "--images embedded:photos --patch 8 --stride 8 --image-mode grey"
TEXTS = "--texts texts.jsonl --model gpt2 --hook blocks.1.hook_resid_post --context 24"
FEW = "--store store --n-samples 1 --n-sample-items 2"
COMMANDS = (
    f"{DIGITS} --arch topk --values 2",
    f"{DIGITS} --arch relu --values 0.3",
    f"train {PHOTOS} --arch topk --k 2 --n-features 3 {STEPS} --out photos",
    f"build photos {PHOTOS} {FEW} --n-top 2",
    f"train {TEXTS} --arch topk --k 2 --n-features 12 {STEPS} --out texts",
    f"build texts {TEXTS} {FEW} --n-top 6 --n-top-tokens 6 --n-top-logits 4",
)


def annotate(root: Path) -> None:
    """A few labels, a star, a comment and a list."""
    from saescope.store import FeatureStore

    with FeatureStore(root) as store:
        entry = store["digits-topk-k2"]
        entry.label(3, "round", author="ann")
        entry.label(3, "a closed loop", author="ben")
        entry.star(4, author="ann")
        weights = entry.weights_sha256
        store.annotations.comment(weights, 3, "zeros and sixes", author="ann")
        store.annotations.add_to_list(weights, 4, "strokes", author="ann")
        store.annotations.label(store["texts"].weights_sha256, 0, "keywords", author="ben")


def main() -> None:
    sys.path.insert(0, str(BENCHMARKS))
    from small_inputs import write_models, write_texts

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder)
        shutil.rmtree(folder / "texts")
        write_models(folder)
        saescope = [sys.executable, "-c", "from saescope.cli import main; main()"]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "SAESCOPE_CACHE": str(folder / "cache"),
        }
        for command in COMMANDS:
            subprocess.run([*saescope, *command.split()], cwd=folder, env=environment, check=True)
        annotate(folder / "store")
        ignored = shutil.ignore_patterns("index-*.duckdb", ".lock", ".training", "*-wal", "*-shm")
        shutil.copytree(folder / "store", sys.argv[1], ignore=ignored)


if __name__ == "__main__":
    main()
