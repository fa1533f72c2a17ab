"""A pass of a variational autoencoder over a source, for what its posterior says.

The draws of z follow from the place of a position among all of them, on a device of one kind.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool

from saescope.autoencoders.variational.module import VariationalAutoencoder
from saescope.metrics.latents import LatentStatistics
from saescope.precompute.one_pass.blocks import block_rows, rows_of
from saescope.progress import SILENT, Progress
from saescope.sources.protocol import Source

DECODED_VALUES = 2**22
"""Values decoded at a time."""
SEED = 20_140_416
"""Of the draws of z."""


@torch.inference_mode()
def latent_statistics(
    sae: VariationalAutoencoder,
    source: Source,
    chosen: Bool[np.ndarray, " n_items"] | None,
    progress: Progress = SILENT,
) -> LatentStatistics:
    """Over the whole source; the bound over the items `chosen` (None: all)."""
    device = next(sae.parameters()).device
    totals = torch.zeros(3, sae.n_features, dtype=torch.float64)
    bounds = torch.zeros(2, dtype=torch.float64)
    at_once = max(1, DECODED_VALUES // sae.d_out)
    n = n_chosen = 0
    for index, rows in enumerate(rows_of(source, block_rows(sae.n_features, device))):
        generator = torch.Generator(device).manual_seed(SEED + index)
        q = sae.posterior(rows.x.to(device))
        divergence, mean = q.divergence.double(), q.mean.double()
        totals += torch.stack([divergence.sum(0), mean.sum(0), mean.square().sum(0)]).cpu()
        parts = (q.draw(generator).split(at_once), rows.target.to(device).split(at_once))
        likelihood = torch.cat([sae.log_likelihood(sae.outputs(z), x).double() for z, x in zip(*parts, strict=True)])
        counted = np.ones(len(rows.items), bool) if chosen is None else chosen[rows.items]
        among = torch.from_numpy(counted).to(device)
        bounds += torch.stack([likelihood[among].sum(), divergence[among].sum()]).cpu()
        n, n_chosen = n + len(rows.items), n_chosen + int(counted.sum())
        progress.update("the posterior", int(rows.items[-1]) + 1, source.n_items)
    kl, mean, squares = (totals / max(n, 1)).numpy()
    likelihood_of_all, divergence_of_all = (bounds / max(n_chosen, 1)).tolist()
    return LatentStatistics(kl, np.maximum(squares - mean**2, 0), likelihood_of_all, divergence_of_all)
