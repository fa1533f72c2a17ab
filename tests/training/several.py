"""What torchrun starts in tests: every run of a plan, by all processes together.

    torchrun --nproc-per-node 2 -m tests.training.several PLAN.json

A run with `stop_at` is cut after that step, with a state from every step before it. A failure is written beside the
plan, one file per process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from saescope.store.errors import UserError
from saescope.training import TrainingConfig, train, trainer
from saescope.training.processes import started_processes
from tests.training.arrays import DESCRIPTION, digits


class Stopped(Exception):
    pass


class StopAt:
    """A display that stops the run from inside at a step."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("training") and done == self.step:
            raise Stopped


def main(path: Path) -> None:
    torch.set_num_threads(1)
    trainer.STATE_SECONDS = 0.0
    with started_processes("cpu") as (processes, device):
        for run in json.loads(path.read_text()):
            config, progress = TrainingConfig(**run["config"]), StopAt(run.get("stop_at"))
            try:
                train(
                    digits(),
                    config,
                    Path(run["out"]),
                    description=DESCRIPTION,
                    device=device,
                    processes=processes,
                    progress=progress,
                )
            except Stopped:
                processes.wait()
            except UserError as error:
                Path(f"{run['out']}-{processes.rank}.txt").write_text(error.message)
                processes.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
