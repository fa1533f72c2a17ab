"""Checkpoints of sae-lens 5, whose training runner saves the scale of the inputs beside them until it is folded."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.parity.cases import destination, inputs, write
from tests.parity.flat_sae_lens import ARCHITECTURES, CHECKPOINT, SCALE, save_all, save_by_runner, scaled, trained


@torch.no_grad()
def save_in_training(folder: Path) -> None:
    """What the runner saves on its way, and what the SAE computes from scaled inputs there."""
    sae, config = trained(architecture="standard")
    save_by_runner(sae, config, folder, scale=SCALE)
    write(folder, inputs(), *scaled(sae), CHECKPOINT)


def main() -> None:
    root = destination()
    save_all(root, ARCHITECTURES)
    save_in_training(root / "standard-in-training")


if __name__ == "__main__":
    main()
