"""Which atoms point the same way."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from saescope.progress import SILENT, Progress
from saescope.store.format.schema import schema_of

BLOCK_VALUES = 2**25
"""Cosines computed at a time."""


@torch.inference_mode()
def neighbours(atoms: Float[Tensor, "n_features d_out"], n_kept: int = 10, progress: Progress = SILENT) -> pa.Table:
    """The store's `neighbours`: for each feature the `n_kept` others with the largest cosine between atoms.

    An atom of norm zero has cosine 0 with all. Runs on the device of `atoms`.
    """
    n_features = len(atoms)
    n_kept = min(n_kept, n_features - 1)
    unit = torch.nn.functional.normalize(atoms, dim=1, eps=1e-30)
    at_once = max(1, BLOCK_VALUES // n_features)
    ids = np.empty((n_features, n_kept), np.int32)
    cosines = np.empty((n_features, n_kept), np.float32)
    for first in range(0, n_features if n_kept else 0, at_once):
        block = unit[first : first + at_once] @ unit.T
        last = first + len(block)
        own = torch.arange(len(block), device=block.device)
        block[own, own + first] = -2.0
        best = torch.topk(block, n_kept, dim=1)
        ids[first:last] = best.indices.to(torch.int32).cpu().numpy()
        cosines[first:last] = best.values.clamp(-1, 1).cpu().numpy()
        progress.update("neighbours", last, n_features)
    return pa.table(
        {
            "feature_id": np.repeat(np.arange(n_features, dtype=np.int32), n_kept),
            "rank": np.tile(np.arange(n_kept, dtype=np.int16), n_features),
            "neighbour_id": ids.reshape(-1),
            "cosine": cosines.reshape(-1),
        },
        schema_of("neighbours"),
    )
