"""`saescope sweep`: one SAE per sparsity, each built into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from saescope.baselines.registry import METHODS, chosen
from saescope.cli.report import json_object, json_option, number, percent, table
from saescope.cli.source_options import parsed, source_options
from saescope.cli.store_option import open_store, store_option
from saescope.cli.training_options import device_option, training_options

if TYPE_CHECKING:
    from saescope.workflows import SweepEntry


def _numbers(context: click.Context, parameter: click.Parameter, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of numbers such as 8,16,32", context, parameter) from None


def _names(context: click.Context, parameter: click.Parameter, text: str) -> list[str]:
    names = [word.strip() for word in text.split(",") if word.strip()]
    return [] if names == ["none"] else [each.name for each in chosen(names)]


@click.command()
@source_options
@training_options(width_required=False)
@click.option(
    "--values",
    required=True,
    callback=_numbers,
    metavar="V1,V2,...",
    help="Values of the setting that varies: sparsities, if --parameter names no other.",
)
@click.option(
    "--parameter",
    default="own",
    show_default=True,
    metavar="SETTING",
    help="What varies: own (k, l1, l0-weight or rho, by architecture; the width of those without), target-l0 (the L0 "
    "to arrive at), or any other option that takes a number: n-features, noise, beta, contraction, lr, ...",
)
@click.option(
    "--baselines",
    default="pca",
    show_default=True,
    callback=_names,
    metavar="M1,M2,...",
    help=f"Classical methods to draw beside the SAEs, or none: {', '.join(METHODS)}.",
)
@store_option
@click.option("--name", required=True, metavar="SWEEP", help="Name of the sweep, e.g. mnist.")
@device_option
@json_option
def command(
    source: dict[str, Any],
    training: dict[str, Any],
    values: list[float],
    parameter: str,
    baselines: list[str],
    store: Path,
    name: str,
    device: str,
    as_json: bool,
) -> None:
    """Train one SAE per value and build each into a store, with classical methods as references.

    Entries are named after the sweep: mnist-topk-k16, mnist-relu-l1-0.5, mnist-relu-target-l0-16. What varies is not
    given by its own option. Run again, it
    skips what the store holds with the same settings and goes on with what was cut.
    """
    options = parsed(source, device)
    from saescope.training.processes import refuse_several

    refuse_several("sweep")
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import SweepPlan, sweep

    with terminal_progress() as progress:
        vary = "" if parameter == "own" else parameter.removeprefix("--").replace("-", "_")
        plan = SweepPlan(name, options, training, values, vary=vary, baselines=baselines)
        done = sweep(plan, store, device=device, note=progress.tell, progress=progress)
    if as_json:
        opened = open_store(store)
        entries = [{**vars(e), "metrics": opened[e.sae_id].metrics} for e in done]
        json_object({"store": str(store), "sweep": name, "entries": entries})
    else:
        print_entries(store, done)


def print_entries(store: Path, done: list[SweepEntry]) -> None:
    """A line for each entry: what it came to, and whether it was there already."""
    opened = open_store(store)
    rows = []
    for item in done:
        entry = opened[item.sae_id]
        dead = entry.metrics.get("n_dead")
        rows.append(
            (
                item.sae_id,
                number(entry.metrics.get("l0")),
                number(entry.metrics.get("fvu")),
                "-" if dead is None else percent(dead / entry.n_features),
                "unchanged, reused" if item.reused else "trained and built",
            )
        )
    table(("SAE", "L0", "FVU", "dead", ""), rows, right=(1, 2, 3))
