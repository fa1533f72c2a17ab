"""What a variational autoencoder says of its inputs: the bound on their likelihood, and which units tell of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from saescope.metrics.registry import Over, register

USED_KL = 0.01
"""Nats per position above which a unit counts as used."""

register(
    Over.METRIC_POSITIONS,
    {
        "elbo": "mean over positions of log p(x|z) - KL(q(z|x) || N(0, I)), z one draw of q(z|x); nats per position, a "
        "lower bound of log p(x), Bernoulli or Gaussian as the output is, of raw x",
        "log_likelihood": "mean over positions of log p(x|z), z one draw of q(z|x); nats per position",
        "kl_prior": "mean over positions of KL(q(z|x) || N(0, I)); nats per position",
    },
)
register(Over.ALL_POSITIONS, {"n_used": f"units with a mean KL(q(z_j|x) || N(0, 1)) above {USED_KL} nats"})


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Sums of a pass over all positions, and over those that metrics are taken over."""

    kl: Float64[np.ndarray, " feature"]
    """Mean over all positions of KL(q(z_j|x) || N(0, 1)), nats."""
    variance_of_mean: Float64[np.ndarray, " feature"]
    """Variance over all positions of E[z_j|x] (Burda et al. 2016 call a unit active where it exceeds 0.01)."""
    log_likelihood: float
    """Mean over the metric positions of log p(x|z), nats per position."""
    kl_prior: float
    """Mean over the metric positions of KL(q(z|x) || N(0, I)), nats per position."""

    def metrics(self) -> dict[str, float | None]:
        """By name."""
        return {
            "elbo": self.log_likelihood - self.kl_prior,
            "log_likelihood": self.log_likelihood,
            "kl_prior": self.kl_prior,
            "n_used": float((self.kl > USED_KL).sum()),
        }
