"""Checkpoints of sparsify: TopK and GroupMax SAEs, transcoders with and without a skip connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.parity.cases import D_IN, N_FEATURES, absent, destination, fill, inputs, write

absent("natsort", "datasets", "accelerate", "schedulefree", "wandb")
from sparsify import SparseCoder, SparseCoderConfig  # noqa: E402

K = 3


@torch.no_grad()
def save(folder: Path, **options: Any) -> None:
    config = SparseCoderConfig(k=K, num_latents=N_FEATURES, normalize_decoder=False, **options)
    model = SparseCoder(D_IN, config)
    fill(model)
    model.save_to_disk(folder)
    again = SparseCoder.load_from_disk(folder, device="cpu")
    x = inputs()
    top = again.encode(x)
    codes = torch.zeros(len(x), N_FEATURES).scatter_(1, top.top_indices.long(), top.top_acts)
    write(folder, x, codes, again(x).sae_out)


def main() -> None:
    root = destination()
    save(root / "topk" / "layers.3")
    save(root / "groupmax" / "layers.3", activation="groupmax")
    save(root / "transcoder" / "layers.3.mlp", transcode=True)
    save(root / "skip_transcoder" / "layers.3.mlp", transcode=True, skip_connection=True)


if __name__ == "__main__":
    main()
