"""`saescope build`: a store entry for a trained SAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from saescope.cli.checkpoint_options import checkpoint_options, recorded_by, say_notes
from saescope.cli.evaluate import n_ce_positions_option
from saescope.cli.report import json_object, json_option, line
from saescope.cli.source_options import parsed, source_options
from saescope.cli.store_option import store_option


@click.command()
@click.argument("checkpoint")
@source_options
@store_option
@click.option("--sae-id", metavar="ID", help="Name of the entry.  [default: the checkpoint folder's name]")
@checkpoint_options
@click.option("--n-top", type=int, default=20, show_default=True, metavar="N", help="Strongest examples per feature.")
@click.option("--n-samples", type=int, default=5, show_default=True, metavar="N", help="Examples per interval.")
@click.option(
    "--n-sample-items", type=int, default=64, show_default=True, metavar="N", help="Items kept with their codes."
)
@click.option(
    "--n-top-tokens", type=int, default=20, show_default=True, metavar="N", help="Texts: tokens kept per feature."
)
@click.option(
    "--n-top-logits",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    help="Texts: raised and lowered tokens kept per feature.",
)
@n_ce_positions_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the samples.")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")
@json_option
def command(
    checkpoint: str,
    source: dict[str, Any],
    store: Path,
    sae_id: str | None,
    format_name: str | None,
    assume: dict[str, str],
    as_json: bool,
    **build_options: Any,
) -> None:
    """Precompute a store entry for the SAE in CHECKPOINT (a path, or a name on the Hugging Face hub).

    What every feature does on the source is read off in one pass. Run again after an interruption, it goes on. An
    entry of the same name gets a new version.
    """
    options = parsed(source, build_options["device"], recorded_by(checkpoint, format_name, assume))
    from saescope.precompute import BuildOptions
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import build

    with terminal_progress() as progress:
        built = build(
            checkpoint,
            options,
            store,
            sae_id=sae_id,
            options=BuildOptions(**build_options),
            format=format_name,
            assume=assume,
            note=say_notes,
            progress=progress,
        )
    if as_json:
        json_object({"sae_id": built.sae_id, "version": built.version, "store": str(store)})
    else:
        line(f"built {built.sae_id}, version {built.version}, in {store}")
