"""One SAE, from a source to its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from saescope.checkpoints.formats import native
from saescope.progress import SILENT, Progress
from saescope.sources import DataOptions
from saescope.training import TrainingConfig, train_sweep
from saescope.training.processes import started_processes
from saescope.workflows.divided_source import open_to_train
from saescope.workflows.notes import Note, warn
from saescope.workflows.target_l0 import missed_target


@dataclass(frozen=True)
class Trained:
    """What became of a run."""

    checkpoint: Path
    """Folder of the checkpoint, its curve and its training state."""
    is_first: bool
    """Whether this process is the one that wrote it. Only under torchrun are there others."""


def train(
    source: DataOptions,
    config: TrainingConfig,
    out: Path | str,
    *,
    device: str = "auto",
    note: Note = warn,
    progress: Progress = SILENT,
) -> Trained:
    """Trains one SAE on `source` and writes its checkpoint to the folder `out`; a run that was cut goes on.

    It is trained on the training split, or, where the data has none, on nine tenths of the items; the checkpoint
    records which were held out, and metrics are taken over those alone. The model of `source`, if any, and the
    training both run on `device`. `note` hears what the settings call for, and where a target L0 was missed. Started
    by torchrun, its processes share every batch. Raises `UserError` for unusable data, a run that diverges, and an
    `out` with other contents.
    """
    with started_processes(device) as (processes, own_device):
        shown = progress if processes.is_first else SILENT
        with processes.first_goes_ahead():
            data = open_to_train(source.on_device(own_device), shown)
        if processes.is_first:
            for remark in config.own.remarks(config.run, data.table.d_in):
                note(remark)
        [folder] = train_sweep(
            data.table,
            [config],
            [Path(out)],
            description=data.description,
            device=own_device,
            processes=processes,
            progress=shown,
        )
    if processes.is_first:
        reached = native.read_config(folder)["training"].get("reached")
        missed = reached and missed_target(config.architecture, reached["target_l0"], reached["l0"])
        if missed:
            note(missed)
    return Trained(folder, processes.is_first)
