"""`saescope ls`: the entries of a store, a line each."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.report import count, json_object, json_option, line, metric, number, table
from saescope.cli.store_option import open_store, readable_entries, store_option
from saescope.store.format.source import PatchDescription, SourceDescription, VisionDescription


@click.command()
@store_option
@json_option
def command(store: Path, as_json: bool) -> None:
    """List the entries of a store, a line each."""
    entries = readable_entries(open_store(store))
    if as_json:
        json_object(
            {
                "store": str(store),
                "entries": [
                    {
                        "sae_id": e.sae_id,
                        "version": e.version,
                        "created_at": e.manifest.created_at,
                        "architecture": e.manifest.architecture,
                        "d_in": e.manifest.d_in,
                        "n_features": e.n_features,
                        "n_positions": e.n_positions,
                        "source": e.manifest.source,
                        "sweep": e.manifest.sweep,
                        "metrics": e.metrics,
                    }
                    for e in entries
                ],
            }
        )
        return
    if not entries:
        line(f"{store} holds no entries yet; `saescope build` and `saescope sweep` add some")
        return
    header = ("SAE", "architecture", "features", "L0", "FVU", "dead", "source", "built")
    rows = [
        (
            e.sae_id,
            e.manifest.architecture,
            count(e.n_features),
            number(e.metrics.get("l0")),
            number(e.metrics.get("fvu")),
            metric("n_dead", e.metrics.get("n_dead")),
            source_summary(e.source),
            e.manifest.created_at[:16].replace("T", " "),
        )
        for e in entries
    ]
    table(header, rows, right=(2, 3, 4, 5))


def source_summary(source: SourceDescription) -> str:
    """A source in a few words: its data and, for patches, their size."""
    name = Path(source.path or source.kind or "-").name
    patches = (
        f"{source.patch} x {source.patch} patches" if isinstance(source, PatchDescription | VisionDescription) else ""
    )
    words = [name, patches, source.split if source.split and source.split != "all" else ""]
    return ", ".join(w for w in words if w)
