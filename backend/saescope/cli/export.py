"""`saescope export`: an entry's tables for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.report import json_object, json_option, line
from saescope.cli.store_option import open_store, store_option


@click.command()
@click.argument("sae_id")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["parquet", "csv", "jsonl"]),
    required=True,
    help="parquet keeps types; csv holds lists as JSON text; jsonl is one object a line.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="Folder to write to.")
@click.option("--table", "tables", multiple=True, metavar="NAME", help="Only this table (repeatable).")
@store_option
@json_option
def command(sae_id: str, format_name: str, out: Path, tables: tuple[str, ...], store: Path, as_json: bool) -> None:
    """Write an entry's tables, one file each, for other tools."""
    from saescope.store.read.export import export

    written = export(open_store(store)[sae_id], format_name, out, list(tables) or None)
    if as_json:
        json_object({"sae_id": sae_id, "format": format_name, "files": [str(p) for p in written]})
        return
    for path in written:
        line(str(path))
