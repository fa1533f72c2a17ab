"""`saescope train`: one SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saescope.cli.report import json_object, json_option, line
from saescope.cli.source_options import parsed, source_options
from saescope.cli.training_options import configured, device_option, training_options


@click.command()
@source_options
@training_options()
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the checkpoint.")
@device_option
@json_option
def command(source: dict[str, Any], training: dict[str, Any], out: Path, device: str, as_json: bool) -> None:
    """Train one SAE and write a checkpoint with its training curve; a run that was cut goes on.

    Sparsity is set by one option: --k for topk and its kin, --l1 for relu and gated, --l0-weight for jumprelu,
    --rho for kl, or --target-l0 for any of them. All else has defaults that suit the data. Started by torchrun,
    its processes share every batch. A DIR that holds a run with other settings is refused.
    """
    config = configured(training)
    options = parsed(source, device)
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import train

    with terminal_progress() as progress:
        trained = train(options, config, out, device=device, note=progress.tell, progress=progress)
    if not trained.is_first:
        return
    folder = trained.checkpoint
    if as_json:
        json_object({"checkpoint": str(folder), "architecture": config.architecture, "n_features": config.n_features})
    else:
        line(f"trained {config.architecture} with {config.n_features:,} features: {folder}")
