"""Every autoencoder and every classical dictionary on the same patches: FVU against L0, with what training took.

    python benchmarks/family_curves.py [--picture docs/pictures/family-curves.png]
    python benchmarks/family_curves.py --images MNIST_FOLDER --patch 0 --features 512 --l0 4 8 16 32
    python benchmarks/family_curves.py --small --only topk pca

The patches are those of the photographs that come with scikit-learn and scikit-image, grey, 12 x 12, unless --images
says otherwise (--patch 0 takes whole images). A member with a sparsity setting is trained towards each of the L0s, one
without at as many features; the rest is the default. Classical methods are fitted and coded as `saescope sweep
--baselines` does it, beside SAEs of as many features. Trained on 90 % of the photographs and measured on the other
10 %, or on the splits that the images have. Prints a row for each point; --picture draws them all, which needs
Playwright and Chromium ($CHROMIUM, or the one on the path).
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drawing import write_chart

from saescope.autoencoders.registry import settings_of, trainable
from saescope.baselines import METHODS, baseline_rows
from saescope.baselines.registry import chosen
from saescope.checkpoints import load_sae, read_config
from saescope.dashboard.components.tradeoff import Curve, Point, Reference, figure
from saescope.dashboard.metrics import METRICS
from saescope.dashboard.views.sparsity import BASELINES
from saescope.evaluation import evaluate
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import Source
from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train
from saescope.workflows.divided_source import DividedSource, open_to_train

WIDTH, HEIGHT = 1100, 720


@dataclass(frozen=True)
class Reached:
    """One member at one sparsity."""

    name: str
    l0: float
    fvu: float
    n_features: int
    seconds: float
    """Of training; for methods that share a dictionary, of fitting it."""

    def row(self) -> str:
        """As it is printed."""
        return f"| {self.name} | {self.n_features} | {self.l0:.1f} | {self.fvu:.4f} | {self.seconds:.1f} |"


def config_of(name: str, n_features: int, l0: float, steps: int | None) -> TrainingConfig:
    """Towards an L0, or at as many features where nothing makes the code sparse."""
    if settings_of(name).sparsity:
        return TrainingConfig(name, n_features=n_features, target_l0=l0, steps=steps)
    return TrainingConfig(name, n_features=round(l0), steps=steps)


def member(data: DividedSource, judge: Source, config: TrainingConfig, folder: Path) -> Reached:
    """Trains one and evaluates it."""
    started = time.perf_counter()
    train(data.table, config, folder, description=data.description, device="cpu")
    seconds = time.perf_counter() - started
    metrics = evaluate(load_sae(folder), judge, read_config(folder)).metrics
    l0, fvu = metrics["l0"], metrics["fvu"]
    assert l0 is not None
    assert fvu is not None
    return Reached(config.architecture, l0, fvu, config.n_features, seconds)


def members(
    data: DividedSource, judge: Source, names: Sequence[str], n_features: int, l0s: Sequence[float], steps: int | None
) -> Iterator[Reached | str]:
    """Every architecture at every L0; a sentence where one does not go with the data."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            for number, l0 in enumerate(l0s):
                try:
                    config = config_of(name, n_features, l0, steps)
                    yield member(data, judge, config, Path(scratch) / f"{name}-{number}")
                except UserError as error:
                    yield f"{name} at {l0:g}: {error.message}"


def classical(data: DividedSource, judge: Source, names: Sequence[str], n_features: int) -> Iterator[Reached | str]:
    """Every method at every number of atoms."""
    judged = judge.table() if data.judged_by is None else data.judged_by
    for name in names:
        said: list[str] = []
        for row in baseline_rows(chosen([name]), data.table, judged, n_features, skipped=said.append).to_pylist():
            yield Reached(name, row["l0"], row["fvu"], row["n_atoms"], row["seconds"])
        yield from said


def draw(reached: Sequence[Reached], path: Path) -> None:
    """All of them as the page Sparsity draws them."""
    curves, references = [], []
    for name in dict.fromkeys(r.name for r in reached):
        own = sorted((r for r in reached if r.name == name and r.fvu > 0), key=lambda r: r.l0)
        if name in METHODS:
            references.append(Reference(BASELINES[name], name, [(r.l0, r.fvu, "") for r in own]))
        else:
            points = [Point(name, r.l0, r.fvu, r.n_features, {}) for r in own]
            curves.append(Curve(name, name, points))
    logging.disable(logging.WARNING)  # Streamlit's, that no page is being drawn
    chart = figure(curves, references, METRICS["l0"], METRICS["fvu"], height=HEIGHT)
    chart["layout"] |= {"width": WIDTH, "height": HEIGHT, "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    write_chart(chart, path)


def main(arguments: Sequence[str] | None = None) -> list[Reached]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="embedded:photos", help="as for saescope train")
    parser.add_argument("--patch", type=int, default=12, help="0: whole images")
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--features", type=int, default=192)
    parser.add_argument("--l0", type=float, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--steps", type=int, help="of training; by the size of the data if left out")
    parser.add_argument("--only", nargs="+", choices=[*trainable(), *METHODS], default=[*trainable(), *METHODS])
    parser.add_argument("--small", action="store_true", help="digits, few features and steps: whether all of it runs")
    parser.add_argument("--picture", type=Path, help="a PNG to write")
    given = parser.parse_args(arguments)
    if given.small:
        given.images, given.patch, given.features, given.l0, given.steps = "embedded:digits", 0, 16, [2, 8], 20
    patches = {"patch": given.patch, "stride": given.stride} if given.patch else {}
    options = SourceOptions(images=given.images, image_mode="grey", **patches)
    data, judge = open_to_train(options), open_source(options, "evaluate")
    print(f"{data.table.n_rows:,} training rows of width {data.table.d_in}\n")
    print("| member | features | L0 | FVU | training s |\n|---|---|---|---|---|")
    reached = []
    trained = [name for name in given.only if name not in METHODS]
    fitted = [name for name in given.only if name in METHODS]
    for found in itertools.chain(
        members(data, judge, trained, given.features, given.l0, given.steps),
        classical(data, judge, fitted, given.features),
    ):
        if isinstance(found, str):
            print(f"(left out: {found})", flush=True)
        else:
            print(found.row(), flush=True)
            reached.append(found)
    if given.picture is not None:
        draw(reached, given.picture)
    return reached


if __name__ == "__main__":
    main()
