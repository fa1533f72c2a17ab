"""How far a code follows its input: the encoder's Jacobian, for dense codes of several layers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.layered import LayeredAutoencoder
from saescope.autoencoders.protocol import Autoencoder
from saescope.metrics.registry import Over, register

N_POSITIONS = 512
"""Positions that it is measured on, where there are as many."""
AT_ONCE = 2**24
"""Values of Jacobians held at a time."""
register(
    Over.OTHER,
    {
        "jacobian_norm": f"mean over {N_POSITIONS} of the metric positions of ||df/dx||_F, the encoder's Jacobian for "
        "raw inputs"
    },
)


def has_encoder_jacobian(sae: Autoencoder) -> bool:
    """Whether the metric means something: a code that is dense, and follows its input smoothly."""
    return isinstance(sae, LayeredAutoencoder) and not sae.config.has_sparse_code


def jacobian_norms(sae: LayeredAutoencoder, x: Float[Tensor, "row width"]) -> Float[Tensor, " row"]:
    """||df/dx||_F at each input."""
    widest = max(sae.d_in, *sae.config.encoder_widths, 1)
    rows = max(1, AT_ONCE // (sae.n_features * widest))
    return torch.cat([sae.encoder_jacobian(part).flatten(1).norm(dim=1) for part in x.split(rows)])
