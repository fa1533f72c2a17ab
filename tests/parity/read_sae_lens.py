"""Reads checkpoints that saescope wrote for sae-lens, with sae-lens, and compares what it computes from them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.parity.cases import EXPECTED, absent

absent("wandb", "plotly_express", "babe", "nltk", "dotenv")
from sae_lens import SAE  # noqa: E402

TOLERANCE = 1e-5


@torch.no_grad()
def main() -> None:
    folders = sorted(path.parent for path in Path(sys.argv[1]).rglob(EXPECTED))
    assert folders, "there is nothing to read"
    for folder in folders:
        sae, expected = SAE.load_from_disk(folder), load_file(folder / EXPECTED)
        got = {"codes": sae.encode(expected["x"]), "reconstruction": sae(expected["x"])}
        for name, value in got.items():
            difference = float((value - expected[name]).abs().max())
            largest = float(expected[name].abs().max())
            assert difference <= TOLERANCE * largest, f"{folder.name}: {name} differ by {difference:.2g}"


if __name__ == "__main__":
    main()
