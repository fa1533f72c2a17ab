"""Tables are encoded as in the training of the checkpoint that they are given to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from saescope.checkpoints.formats import native
from saescope.sources import DataOptions
from saescope.sources.tables.options import TableOptions


def as_trained(source: DataOptions, checkpoint: Path | str) -> DataOptions:
    """`source` with the columns that `checkpoint` was trained on, where it is a table, they are recorded, and nothing
    else is said."""
    if not isinstance(source, TableOptions) or source.columns_from is not None:
        return source
    folder = Path(checkpoint).expanduser()
    if not (folder / "cfg.json").is_file():
        return source
    training = native.read_config(folder).get("training")
    recorded = training.get("source") if isinstance(training, dict) else None
    is_table = isinstance(recorded, dict) and recorded.get("kind") == "table"
    return replace(source, columns_from=str(checkpoint)) if is_table else source
