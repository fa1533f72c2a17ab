"""`saescope search`: features by label, token, text, id or expression."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.report import count, json_object, json_option, line, number, percent, table
from saescope.cli.store_option import open_store, readable_entries, store_option
from saescope.store.token_text import visible


@click.command()
@click.argument("query")
@click.option("--sae-id", metavar="ID", help="Search this entry alone; all entries where it is left out.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most features of each entry."
)
@store_option
@json_option
def command(query: str, sae_id: str | None, limit: int, store: Path, as_json: bool) -> None:
    """Find features by label words, a "quoted phrase", an id (12 or #12) or an expression.

    Features of texts also by token:X (tokens that fire them), raises:X and lowers:X (what their atoms do to the next
    token), text:"some words" (text inside their examples).

    \b
    saescope search 'digit 7' --store DIR
    saescope search 'density > 0.01 and max_activation >= 5' --store DIR --sae-id mnist-topk-k16
    saescope search 'is:dead or starred' --store DIR
    saescope search 'token:def and raises:self' --store DIR
    """
    opened = open_store(store)
    entries = [opened[sae_id]] if sae_id is not None else readable_entries(opened)
    found = [(entry.sae_id, feature) for entry in entries for feature in entry.search(query, limit=limit)]
    if as_json:
        json_object({"query": query, "features": [{"sae_id": i, **feature.as_dict()} for i, feature in found]})
        return
    if not found:
        line(f"no feature matches {query!r}")
        return
    header = ("SAE", "feature", "density", "firings", "max", "mean", "label")
    rows = [
        (
            owner,
            f"#{f.feature_id}",
            percent(f.density),
            count(f.n_firing),
            number(f.max_activation),
            number(f.mean_activation),
            visible(f.label_sentence or ""),
        )
        for owner, f in found
    ]
    table(header, rows, right=(1, 2, 3, 4, 5))
