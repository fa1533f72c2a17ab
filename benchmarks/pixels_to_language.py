"""The same sparse autoencoder on pixels, on patches of photographs and on a language model's activations.

    python benchmarks/pixels_to_language.py [--images MNIST_FOLDER] [--store pixels-to-language] [--tokens 100000]
                                            [--k 4 8 16 32 64] [--steps 1500] [--picture CURVES.png]

One `saescope sweep` each, of TopK with four times as many features as dimensions, with PCA beside it. The commands
differ in where activations come from and in nothing else: whole images, patches of 8 x 8 pixels in colour, and the
residual stream after the middle layer of SmolLM2-135M over Python's own documentation. Printed for each: the
dimensions, the features, their L0 and FVU beside PCA's with as many components, the features that are dead, and the
share of live features that fire at more than half of the positions at which they do for a reason that has a name: an
image's digit, a patch's photograph, a token or its document's kind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawing import write_chart

from saescope.sources import SourceOptions, open_source
from saescope.store import Entry, FeatureStore

COLOURS = {"pixels": "#1baf7a", "patches": "#eda100", "language": "#2a78d6"}
WIDTH, HEIGHT = 900, 520


def sources(images: str, tokens: int) -> dict[str, tuple[list[str], int]]:
    """The options that say where activations come from, and their dimensions, by name."""
    d_in = open_source(SourceOptions(images=images), "train").d_in
    text = ["--texts", "embedded:python", "--max-tokens", str(tokens)]
    return {
        "pixels": (["--images", images], d_in),
        "patches": (["--images", "embedded:photos", "--patch", "8", "--stride", "4", "--image-mode", "colour"], 192),
        "language": ([*text, "--model", "embedded:smollm2", "--hook", "blocks.15.hook_resid_post"], 576),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="embedded:digits", help="whole images, as for saescope train")
    parser.add_argument("--store", type=Path, default=Path("pixels-to-language"), help="what is there is reused")
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--picture", type=Path, help="a PNG to write")
    parser.add_argument("--only", nargs="+", choices=list(COLOURS), default=list(COLOURS))
    given = parser.parse_args(arguments)
    chosen = {name: found for name, found in sources(given.images, given.tokens).items() if name in given.only}
    for name, (source, d_in) in chosen.items():
        width = ["--arch", "topk", "--n-features", 4 * d_in, "--steps", given.steps]
        sweep = [*source, *width, "--values", ",".join(map(str, given.k)), "--store", given.store, "--name", name]
        subprocess.run([sys.executable, "-m", "saescope.cli", "sweep", *map(str, sweep)], check=True)
    print("| data | dimensions | features | L0 | FVU | PCA | dead | named |\n|---|---|---|---|---|---|---|---|")
    traces: list[dict[str, Any]] = []
    with FeatureStore(given.store) as store:
        for name, (_, d_in) in chosen.items():
            entries = sorted(
                (e for e in store.entries() if (e.manifest.sweep or {}).get("name") == name),
                key=lambda e: e.metrics["l0"] or 0.0,
            )
            curve, straight = [], []
            for entry in entries:
                l0, fvu = entry.metrics["l0"] or 0.0, entry.metrics["fvu"] or 0.0
                pca = variance_left(entry, l0)
                dead = (entry.metrics["n_dead"] or 0) / entry.n_features
                print(
                    f"| {name} | {d_in} | {entry.n_features:,} | {l0:.1f} | {fvu:.3f} | {pca:.3f} | {dead:.1%} "
                    f"| {named(entry):.0%} |"
                )
                curve.append((l0, fvu))
                straight.append((l0, pca))
            traces += [line(f"{name}, TopK", curve, COLOURS[name], "solid")]
            traces += [line(f"{name}, PCA", straight, COLOURS[name], "dash")]
    if given.picture:
        axis = {"type": "log", "gridcolor": "#e1e0d9", "zeroline": False}
        layout = {
            "width": WIDTH, "height": HEIGHT, "paper_bgcolor": "#fff", "plot_bgcolor": "#fff",
            "font": {"family": "sans-serif", "size": 14}, "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
            "xaxis": {**axis, "title": {"text": "L0, or components"}}, "yaxis": {**axis, "title": {"text": "FVU"}},
        }  # fmt: skip
        write_chart({"data": traces, "layout": layout}, given.picture)


def line(name: str, points: Sequence[tuple[float, float]], colour: str, dash: str) -> dict[str, Any]:
    """A curve through points (L0, FVU)."""
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": [p[0] for p in points],
        "y": [p[1] for p in points], "line": {"color": colour, "dash": dash, "width": 2}, "marker": {"size": 7},
    }  # fmt: skip


def variance_left(entry: Entry, components: float) -> float:
    """FVU of PCA at a number of components, between those that the store has by the logarithms of both."""
    table = entry.baselines()
    assert table is not None
    rows = sorted((r["n_components"], r["fvu"]) for r in table.to_pylist() if r["name"] == "pca" and r["fvu"] > 0)
    numbers, fvu = (np.log(np.array(values)) for values in zip(*rows, strict=True))
    return float(np.exp(np.interp(np.log(components), numbers, fvu)))


def named(entry: Entry) -> float:
    """Share of the live features whose automatic label is true of most of their firings."""
    table = entry.table("features", ["is_dead", "label_precision"])
    alive = ~np.asarray(table["is_dead"], bool)
    precision = np.array([value or 0.0 for value in table["label_precision"].to_pylist()])
    return float((precision[alive] > 0.5).mean())


if __name__ == "__main__":
    main()
