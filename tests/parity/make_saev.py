"""A checkpoint of saev 0.1, the release on PyPI: ReLU alone, the decoder's bias subtracted."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.parity.cases import D_IN, N_FEATURES, destination, fill, inputs, write

from saev import config, nn  # isort: skip


@torch.no_grad()
def main() -> None:
    root = destination()
    options = config.SparseAutoencoder(d_vit=D_IN, exp_factor=N_FEATURES // D_IN)
    model = nn.SparseAutoencoder(options)
    fill(model)
    folder: Path = root / "relu"
    nn.dump(str(folder / "sae.pt"), model)
    again = nn.load(str(folder / "sae.pt"))
    x = inputs()
    reconstruction, codes, _ = again(x)
    write(folder, x, codes, reconstruction, "sae.pt")


if __name__ == "__main__":
    main()
