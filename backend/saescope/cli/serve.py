"""`saescope serve`: the dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from saescope.cli.extras import need
from saescope.cli.report import line
from saescope.cli.store_option import store_option


@click.command()
@store_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=int, default=8501, show_default=True, help="Port to listen on.")
@click.option("--base-path", default="", metavar="PATH", help="Path below which the pages live, behind a proxy.")
@click.option("--open/--no-open", "open_browser", default=False, help="Open a browser once the dashboard answers.")
def command(store: Path, host: str, port: int, base_path: str, open_browser: bool) -> None:
    """Open the dashboard on a store, until Ctrl-C."""
    serve(store, host, port, base_path, open_browser)


def serve(store: Path, host: str, port: int, base_path: str = "", open_browser: bool = False) -> None:
    """Serve until interrupted; a stop on request is the ordinary end of it."""
    need("dashboard")
    from saescope.dashboard import server

    server.serve(store, host, port, base_path, open_browser, say=line)
