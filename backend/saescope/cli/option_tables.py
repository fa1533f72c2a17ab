"""The tables of options in docs/command-line.md, from the dataclasses that the options are fields of.

python -m saescope.cli.option_tables docs/command-line.md      writes them anew
"""

from __future__ import annotations

import sys
from pathlib import Path

from saescope.cli.anomaly import fit_flags, report_flags
from saescope.cli.baseline import baseline_flags
from saescope.cli.build import build_flags
from saescope.cli.source_options import source_flags
from saescope.cli.training_options import options, sparsity_settings
from saescope.options.documentation import rows, with_tables


def tables() -> dict[str, str]:
    """The rows of each table, by its name in the page."""
    every = options()
    return {
        "baseline": rows(baseline_flags()),
        "build": rows(build_flags()),
        "anomaly-fit": rows(fit_flags()),
        "anomaly-report": rows(report_flags()),
        "source": rows(source_flags()),
        "training": rows({name: each for name, each in every.items() if name not in sparsity_settings()}),
        "sparsity": rows({name: each for name, each in every.items() if name in sparsity_settings()}),
    }


def main(page: Path) -> None:
    """Writes the tables into `page`."""
    page.write_text(with_tables(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
