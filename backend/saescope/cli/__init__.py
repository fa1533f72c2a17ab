"""The command line: one file per command, on top of all packages, each imported only when its command runs."""

from __future__ import annotations

import sys


def main() -> None:
    """The `saescope` program. Never returns: ends the process with the exit codes of `saescope.cli.run`."""
    from saescope.cli.run import prepare_streams, run

    prepare_streams()
    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
