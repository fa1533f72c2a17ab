"""What the demo costs and what its SAEs come to.

    python benchmarks/demo.py [--store DIR]

Runs `saescope demo --no-serve` into a new store, then once more, then with its dashboard until that answers. Prints
wall times, the first run's peak memory, and for each SAE: L0, dead features, and held-out FVU in the space that it was
trained in beside PCA's with as many components (L0 rounded up), fitted on the same rows in the same space.
"""

from __future__ import annotations

import argparse
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from saescope.baselines.pca import FVU_TRANSFORMED, pca_baseline
from saescope.checkpoints.formats import native
from saescope.store import Entry, FeatureStore
from saescope.workflows.demo import plans
from saescope.workflows.divided_source import open_to_train
from saescope.workflows.sweep import SweepPlan, entry_name

MOST_SECONDS, MOST_MEGABYTES, MOST_DEAD, COMPARED_UP_TO_L0 = 150, 2000, 0.15, 16
SAESCOPE = [sys.executable, "-m", "saescope.cli"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="keep the store here; must not exist")
    parser.add_argument("--port", type=int, default=8599)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder) / "store"
        if store.exists():
            parser.error(f"{store} exists already")
        first = seconds_of([*SAESCOPE, "demo", "--no-serve", "--store", str(store)])
        megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        again = seconds_of([*SAESCOPE, "demo", "--no-serve", "--store", str(store)])
        up = seconds_until_up(store, options.port)
        print(f"first run {first:.0f} s wall (at most {MOST_SECONDS}), peak memory {megabytes:.0f} MB")
        print(f"second run {again:.1f} s; with its dashboard answering {up:.1f} s")
        missed = table(FeatureStore(store))
        if options.store is None:
            shutil.rmtree(store)
    return int(missed or first > MOST_SECONDS or megabytes > MOST_MEGABYTES)


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_until_up(store: Path, port: int) -> float:
    """From starting `saescope demo` on a store that is there until the dashboard's health check answers."""
    start = time.perf_counter()
    command = [*SAESCOPE, "demo", "--store", str(store), "--port", str(port), "--no-open"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1):
                    return time.perf_counter() - start
            except (urllib.error.URLError, OSError):
                if server.poll() is not None:
                    raise RuntimeError("the demo's dashboard stopped") from None
                time.sleep(0.1)
    finally:
        server.terminate()
        server.wait()


def table(store: FeatureStore) -> bool:
    """Print a line for each SAE; whether any misses what the demo promises."""
    missed = False
    print(f"{'SAE':24}{'L0':>8}{'dead':>8}{'FVU':>9}{'PCA FVU':>9}  (held out, in the space of training)")
    for plan in plans():
        for value in plan.values:
            architecture = plan.training["architecture"]
            entry = store[entry_name(plan.name, architecture, plan.parameter, value)]
            l0, dead, fvu, pca = figures(entry, plan)
            faults = ["dead"] if dead > MOST_DEAD else []
            faults += ["worse than PCA"] if l0 <= COMPARED_UP_TO_L0 and fvu >= pca else []
            missed = missed or bool(faults)
            print(f"{entry.sae_id:24}{l0:8.2f}{dead:8.1%}{fvu:9.4f}{pca:9.4f}  {', '.join(faults)}")
    return missed


def figures(entry: Entry, plan: SweepPlan) -> tuple[float, float, float, float]:
    """L0, fraction dead, FVU and PCA's FVU."""
    l0, dead = entry.metrics["l0"], entry.metrics["n_dead"]
    whitening = native.read_whitening(entry.paths.checkpoint)
    name = "fvu" if whitening is None else FVU_TRANSFORMED
    fvu = entry.metrics[name]
    assert l0 is not None
    assert dead is not None
    assert fvu is not None
    data = open_to_train(plan.source)
    assert data.judged_by is not None
    matrix = None if whitening is None else whitening.matrix.numpy()
    reference = pca_baseline(data.table, data.judged_by, [math.ceil(l0)], matrix)
    return l0, dead / entry.n_features, fvu, reference[name][0].as_py()


if __name__ == "__main__":
    sys.exit(main())
