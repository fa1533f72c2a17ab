"""`saescope baseline`: one classical dictionary as a checkpoint."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from saescope.baselines.registry import METHODS, method
from saescope.cli.report import count, json_object, json_option, line, number
from saescope.cli.source_options import parsed, source_options
from saescope.cli.training_options import device_option
from saescope.options.flags import Option, collected, option_flags, owners_in_words
from saescope.store.errors import OptionError


def baseline_flags() -> dict[str, Option]:
    """The options of all methods by field."""
    return collected({name: each.settings for name, each in METHODS.items()})


@click.command()
@click.argument("name", metavar="METHOD", type=click.Choice(list(METHODS)))
@source_options
@option_flags(baseline_flags(), into="chosen")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the checkpoint.")
@device_option
@json_option
def command(name: str, source: dict[str, Any], chosen: dict[str, Any], out: Path, device: str, as_json: bool) -> None:
    """Fit a classical dictionary and write it as a checkpoint.

    METHOD is pca, omp or lars (dictionary learning, coded by orthogonal matching pursuit or least angle regression),
    nmf, ica, kmeans, random (directions) or neurons (the coordinates themselves). What it writes is built, browsed,
    compared and exported as an SAE. A DIR that holds the same fit is left as it is; with other contents it is refused.
    """
    kind = method(name)
    own = {field.name for field in fields(kind.settings)}
    for field in chosen:
        if field not in own:
            owners = [n for n, each in METHODS.items() if field in {f.name for f in fields(each.settings)}]
            raise OptionError(
                f"--{field.replace('_', '-')} is an option of {owners_in_words(owners, list(METHODS))}; "
                f"{name} has no use for it"
            )
    settings = kind.settings(**chosen)
    options = parsed(source, device)
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import baseline

    with terminal_progress() as progress:
        done = baseline(name, options, settings, out, progress=progress)
    if as_json:
        json_object(
            {
                "checkpoint": str(done.checkpoint),
                "architecture": name,
                "n_features": done.n_features,
                "n_fitted_rows": done.n_rows,
                "seconds": done.seconds,
            }
        )
    elif done.n_rows:
        line(
            f"fitted {name} with {count(done.n_features)} atoms on {count(done.n_rows)} rows "
            f"in {number(done.seconds)} s: {done.checkpoint}"
        )
    else:
        line(f"{done.checkpoint} holds this {name} already")
