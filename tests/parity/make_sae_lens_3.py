"""Checkpoints of sae-lens 3, whose TopK is the architecture standard with another activation function."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.parity.cases import destination, inputs, write
from tests.parity.flat_sae_lens import ARCHITECTURES, SCALE, TOPK, make, save_all, scaled


@torch.no_grad()
def save_corrected(folder: Path) -> None:
    """An export in whose b_dec the scale is missing, and what training computed: with that put right, they agree."""
    sae = make("standard")
    expected = scaled(sae)
    sae.fold_activation_norm_scaling_factor(SCALE)
    sae.save_model(str(folder))
    write(folder, inputs(), *expected, b_dec_scale=1 / SCALE)


def main() -> None:
    root = destination()
    save_all(root, ARCHITECTURES | {"topk": {"architecture": "standard", **TOPK}})
    save_corrected(root / "standard-scale-folded-b_dec-corrected")


if __name__ == "__main__":
    main()
