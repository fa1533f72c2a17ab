"""The score that a Gaussian denoiser implies.

Let y = x + sigma n with n ~ N(0, 1), and p_sigma the density of y. The denoiser of least squared error is the mean of
x at a given y, and (Tweedie's formula, Efron 2011; of denoising autoencoders, Vincent 2011)

    grad log p_sigma(y) = (E[x | y] - y) / sigma^2

so a trained one, in the place of the mean, gives an estimate of the score. Values must not have been clipped.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.protocol import Autoencoder
from saescope.store.errors import OptionError


@torch.no_grad()
def score(
    denoiser: Autoencoder, noisy: Float[Tensor, "batch d_in"], sigma: float | Float[Tensor, " batch"]
) -> Float[Tensor, "batch d_in"]:
    """Estimate of grad log p_sigma at `noisy`, per unit of the data. `sigma` is the noise's standard deviation, of all
    or of each; a denoiser that takes the level is told it. `OptionError` for a transcoder and a sigma that is not
    above 0."""
    if denoiser.config.transcoder:
        raise OptionError("a transcoder does not rebuild its input, so it implies no score", "give a denoiser")
    levels = torch.as_tensor(sigma, dtype=noisy.dtype, device=noisy.device).expand(len(noisy)).unsqueeze(1)
    if not bool((levels > 0).all()):
        raise OptionError(f"sigma is {float(levels.min()):g}, expected a noise level above 0")
    x = torch.cat([noisy, levels], dim=1) if denoiser.config.noise_input else noisy
    return (denoiser(x).reconstruction - noisy) / levels.square()
