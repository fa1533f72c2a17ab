"""`saescope train`: one SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saescope.cli.checkpoint_options import say_notes
from saescope.cli.report import json_object, json_option, line
from saescope.cli.source_options import parsed, source_options
from saescope.cli.target_note import target_note
from saescope.cli.training_options import configured, device_option, training_options


@click.command()
@source_options
@training_options(sparsity=True)
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
    from saescope.checkpoints.formats import native
    from saescope.progress import SILENT
    from saescope.progress.terminal import terminal_progress
    from saescope.training import train
    from saescope.training.processes import started_processes
    from saescope.workflows.divided_source import open_to_train

    with started_processes(device) as (processes, own_device), terminal_progress() as shown:
        progress = shown if processes.is_first else SILENT
        options = parsed(source, own_device)
        with processes.first_goes_ahead():
            data = open_to_train(options, progress)
        folder = train(
            data.table,
            config,
            out,
            description=data.description,
            device=own_device,
            processes=processes,
            progress=progress,
        )
    if not processes.is_first:
        return
    if as_json:
        json_object({"checkpoint": str(folder), "architecture": config.architecture, "n_features": config.n_features})
    else:
        line(f"trained {config.architecture} with {config.n_features:,} features: {folder}")
    reached = native.read_config(folder)["training"].get("reached")
    if reached is not None:
        note = target_note(config.architecture, reached["target_l0"], reached["l0"])
        say_notes(note)
