"""`saescope build`: a store entry for a trained SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saescope.cli.checkpoint_options import checkpoint_options, recorded_by
from saescope.cli.report import json_object, json_option, line
from saescope.cli.source_options import parsed, source_options
from saescope.cli.store_option import store_option
from saescope.options.flags import Option, collected, option_flags
from saescope.precompute.options import BuildOptions


def build_flags() -> dict[str, Option]:
    """The options of a build by field."""
    return collected({"": BuildOptions})


@click.command()
@click.argument("checkpoint")
@source_options
@store_option
@click.option("--sae-id", metavar="ID", help="Name of the entry.  [default: the checkpoint folder's name]")
@checkpoint_options
@option_flags(build_flags(), into="chosen")
@json_option
def command(
    checkpoint: str,
    source: dict[str, Any],
    store: Path,
    sae_id: str | None,
    format_name: str | None,
    assume: dict[str, str],
    chosen: dict[str, Any],
    as_json: bool,
) -> None:
    """Precompute a store entry for the SAE in CHECKPOINT (a path, or a name on the Hugging Face hub).

    What every feature does on the source is read off in one pass. Run again after an interruption, it goes on. An
    entry of the same name gets a new version.
    """
    build_options = BuildOptions(**chosen)
    options = parsed(source, build_options.device, recorded_by(checkpoint, format_name, assume))
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import build

    with terminal_progress() as progress:
        built = build(
            checkpoint,
            options,
            store,
            sae_id=sae_id,
            options=build_options,
            format=format_name,
            assume=assume,
            note=progress.tell,
            progress=progress,
        )
    if as_json:
        json_object({"sae_id": built.sae_id, "version": built.version, "store": str(store)})
    else:
        line(f"built {built.sae_id}, version {built.version}, in {store}")
