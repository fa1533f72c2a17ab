"""`saescope convert`: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.checkpoint_options import checkpoint_options, say_notes
from saescope.cli.extras import need
from saescope.cli.report import json_object, json_option, line


@click.command()
@click.argument("checkpoint")
@click.option("--to", type=click.Choice(["native", "saelens"]), required=True, help="Format to write.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write to.")
@checkpoint_options
@json_option
def command(
    checkpoint: str, to: str, out: Path, format_name: str | None, assume: dict[str, str], as_json: bool
) -> None:
    """Write the SAE in CHECKPOINT (a path, or a name on the Hugging Face hub) in another format.

    DIR must be empty or not there yet. The new checkpoint computes the same from raw activations.
    """
    need("backend")
    from saescope.checkpoints.conversion import convert

    loaded = convert(checkpoint, "saelens" if to == "saelens" else "native", out, format_name, assume)
    say_notes(*loaded.notes)
    sae = loaded.sae
    if as_json:
        json_object(
            {
                "format": loaded.format,
                "to": to,
                "out": str(out),
                "architecture": sae.config.architecture,
                "d_in": sae.d_in,
                "d_out": sae.d_out,
                "n_features": sae.n_features,
            }
        )
        return
    line(f"read {checkpoint} as {loaded.format}: {sae.config.architecture}, {sae.n_features} features of {sae.d_in}")
    line(f"wrote {out} as {to}")
