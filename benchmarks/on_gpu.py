"""Whether saescope is right and fast on a GPU: every architecture, the pass, training, cross-entropy, memory.

    python benchmarks/on_gpu.py [--only codes pass ...] [--json OUT.json]
    python benchmarks/on_gpu.py --device cpu --small     (the whole of it on a CPU, in under a minute: its logic)
    python benchmarks/on_gpu.py --needs                  (the packages that it imports)

Eight minutes or less on one data-centre GPU, without a network; neither streamlit nor a browser. A clone is enough:
saescope need not be installed. Goes on after a check that fails, prints a table with the card's name, and exits with 1
where a check failed. Tolerances and what is to be reached stand beside each check in `gpu_correctness` and `gpu_speed`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEEDS = (
    "torch",
    "transformers",
    "numba",
    "safetensors",
    "scikit-learn",
    "numpy",
    "scipy",
    "pyarrow",
    "duckdb",
    "msgspec",
    "jaxtyping",
    "pillow",
    "tokenizers",
    "click",
    "psutil",
    "rich",
)
"""Packages, by their names on PyPI."""


@dataclass(frozen=True)
class Outcome:
    """What one check came to."""

    name: str
    passed: bool
    found: str
    seconds: float


def run_check(name: str, check: Callable[[], str]) -> Outcome:
    """A check returns what it found, and raises where that is not what it must be."""
    started = time.perf_counter()
    try:
        passed, found = True, check()
    except Exception as error:
        traceback.print_exc()
        passed, found = False, f"{type(error).__name__}: {error}"
    outcome = Outcome(name, passed, " ".join(found.split()), time.perf_counter() - started)
    print(
        f"{'ok  ' if passed else 'FAIL'} {name} ({outcome.seconds:.1f} s): {outcome.found}", file=sys.stderr, flush=True
    )
    return outcome


def machine(device: str) -> str:
    """The card, or the processor, and the versions that decide what it does."""
    import torch

    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device == "cpu":
        return f"CPU, {os.cpu_count()} cores, {versions}"
    card = torch.cuda.get_device_properties(device)
    return f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--small", action="store_true", help="sizes that take seconds; nothing is asked of speed")
    parser.add_argument("--only", nargs="+", default=[], help="checks whose name holds one of these")
    parser.add_argument("--json", type=Path, help="where to write the outcomes too")
    parser.add_argument("--needs", action="store_true", help="print the packages that this imports")
    args = parser.parse_args()
    if args.needs:
        print(*NEEDS)
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(ROOT / name) for name in ("backend", "store")]
    import torch

    if args.device != "cpu" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --device cpu --small runs the checks without one")
    import gpu_correctness
    import gpu_speed

    outcomes = []
    with tempfile.TemporaryDirectory(prefix="on-gpu-") as folder:
        os.environ["SAESCOPE_CACHE"] = f"{folder}/cache"
        for checks in (gpu_correctness.checks, gpu_speed.checks):
            for name, check in checks(torch.device(args.device), Path(folder), args.small).items():
                if not args.only or any(part in name for part in args.only):
                    outcomes.append(run_check(name, check))
    print(machine(args.device))
    print("| check | | found | s |\n|---|---|---|---|")
    for each in outcomes:
        print(f"| {each.name} | {'ok' if each.passed else 'FAILED'} | {each.found} | {each.seconds:.1f} |")
    failed = [each.name for each in outcomes if not each.passed]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} checks passed" + "".join(f"; failed: {n}" for n in failed))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(args.device), "checks": [asdict(o) for o in outcomes]}))
    sys.exit(1 if failed or not outcomes else 0)


if __name__ == "__main__":
    main()
