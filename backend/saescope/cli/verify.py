"""`saescope verify`: all faults of a store at once."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.report import json_object, json_option, line
from saescope.cli.store_option import open_store, store_option


@click.command()
@click.argument("sae_id", required=False)
@store_option
@json_option
@click.pass_context
def command(context: click.Context, sae_id: str | None, store: Path, as_json: bool) -> None:
    """Check hashes, tables and their relations; report all faults at once. Exit 1 if there are any.

    With SAE_ID, check that entry alone.
    """
    from saescope.store.check.verification import verify

    faults = verify(store, sae_id)
    if as_json:
        json_object({"store": str(store), "faults": [f.as_dict() if hasattr(f, "as_dict") else str(f) for f in faults]})
    elif faults:
        for fault in faults:
            line(str(fault))
        line(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}")
    else:
        opened = open_store(store)
        checked, reports = (1, 0) if sae_id else (len(opened.entries()), len(opened.anomaly_names()))
        beside = f" and {reports} report{'' if reports == 1 else 's'} on anomalies" if reports else ""
        line(f"no fault in {checked} entr{'y' if checked == 1 else 'ies'}{beside}")
    if faults:
        context.exit(1)
