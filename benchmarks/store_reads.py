"""What reading a store costs: opening it, one feature's whole page, searches, pages and plots over all features.

    python benchmarks/store_reads.py STORE [SAE_ID] [--reads 200]

Prints milliseconds of wall time (median and 95th percentile) and of this process's CPU time, for the entry with most
features unless SAE_ID is given. Wall times depend on what else the machine does; CPU times hardly do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from saescope.store import Entry, FeatureStore


def feature_page(entry: Entry, feature_id: int) -> None:
    """Everything that the page of one feature shows."""
    entry.feature(feature_id)
    examples = entry.examples(feature_id)
    entry.items([example.item_id for example in examples])
    near = entry.neighbours(feature_id)
    entry.coactivations(feature_id)
    entry.atoms([feature_id, *(n.neighbour_id for n in near)])


def timed(name: str, call: Callable[[], object], repeats: int) -> None:
    wall = []
    cpu = time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        wall.append((time.perf_counter() - start) * 1e3)
    cpu = (time.process_time() - cpu) * 1e3 / repeats
    print(f"{name:34s} {np.median(wall):8.1f} {np.quantile(wall, 0.95):8.1f} {cpu:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("sae_id", nargs="?")
    parser.add_argument("--reads", type=int, default=200)
    options = parser.parse_args()

    store = FeatureStore(options.store)
    entry = store[options.sae_id] if options.sae_id else max(store.entries(), key=lambda e: e.n_features)
    print(f"{entry!r} in a store of {len(store)}")
    print(f"{'':34s} {'median':>8s} {'95 %':>8s} {'CPU':>8s}  ms")
    timed("open the store, list its entries", lambda: FeatureStore(options.store).entries(), 10)
    timed("first feature (opens the index)", lambda: feature_page(FeatureStore(options.store)[entry.sae_id], 0), 5)
    ids = iter(np.random.default_rng(0).integers(0, entry.n_features, options.reads).tolist())
    timed("one feature's whole page", lambda: feature_page(entry, next(ids)), options.reads)
    few = max(1, options.reads // 10)
    timed("search by words", lambda: entry.search("digit 7"), few)
    timed("search by numbers", lambda: entry.search("density > 0.1% and not is:dense"), few)
    timed("page of 200 features", lambda: entry.features_page(sort="max_activation", page=1), few)
    timed("scatter of all features", lambda: entry.scatter("density", "max", log_x=True, log_y=True), few)
    timed("histogram of all features", lambda: entry.histogram("density"), few)
    timed("atoms of 1,000 features", lambda: entry.atoms(range(min(1000, entry.n_features))), few)
    store.close()


if __name__ == "__main__":
    main()
