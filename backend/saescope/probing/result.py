"""What fires where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder

_BLOCK_CODES = 1 << 24
"""Codes computed together: 64 MiB in float32."""


@dataclass(frozen=True)
class ProbeResult:
    """One entry per position of an item, in order."""

    tokens: list[str] | None
    """Text of each token; None for pictures."""
    token_ids: list[int] | None
    """None for pictures."""
    evaluated: list[bool]
    """Whether the position would count in the store's statistics (BOS, CLS tokens and attention sinks do not)."""
    feature_ids: list[Int64[np.ndarray, " firing"]]
    """What fires at each position, the strongest |activation| first."""
    activations: list[Float32[np.ndarray, " firing"]]
    """Of the same features."""
    image: bytes | None
    """PNG of the picture as the SAE or its model sees it; None for texts."""


@torch.no_grad()
def firing_features(
    sae: Autoencoder, x: Float[Tensor, "position d_in"]
) -> tuple[list[Int64[np.ndarray, " firing"]], list[Float32[np.ndarray, " firing"]]]:
    """Features that fire at each position and their activations, strongest first, ties by feature."""
    ids: list[np.ndarray] = []
    values: list[np.ndarray] = []
    step = max(1, _BLOCK_CODES // sae.n_features)
    for start in range(0, len(x), step):
        block = x[start : start + step]
        selection = sae.select(block)
        if selection is None:
            codes = sae.encode(block)
            candidates = torch.arange(sae.n_features).expand(len(block), -1)
        else:
            codes, candidates = selection.values, selection.indices
        for found, which in zip(codes.float().cpu().numpy(), candidates.cpu().numpy(), strict=True):
            fires = np.abs(found) > np.float32(sae.config.firing_threshold)
            features, activations = which[fires].astype(np.int64), found[fires]
            order = np.lexsort((features, -np.abs(activations)))
            ids.append(features[order])
            values.append(activations[order])
    return ids, values
