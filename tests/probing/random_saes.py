"""SAEs with random weights, as checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from saescope.autoencoders.linear import LinearAutoencoder
from saescope.autoencoders.relu.module import ReluAutoencoder, ReluConfig
from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig
from saescope.checkpoints.formats import native


def write_sae(folder: Path, d_in: int, architecture: str = "topk", n_features: int = 40) -> LinearAutoencoder:
    """A random SAE, saved in `folder`."""
    sae: LinearAutoencoder
    if architecture == "topk":
        sae = TopkAutoencoder(TopkConfig(d_in, n_features, k=6))
    else:
        sae = ReluAutoencoder(ReluConfig(d_in, n_features))
    generator = torch.Generator().manual_seed(11)
    sae.load_tensors({name: torch.randn(t.shape, generator=generator) / d_in**0.5 for name, t in sae.tensors().items()})
    native.save(sae, folder)
    return sae.eval().requires_grad_(False)
