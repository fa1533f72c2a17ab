"""The density of normal codes and errors: a mixture of Gaussians, fitted by scikit-learn and kept as arrays.

-log sum_k w_k N(z; mu_k, S_k): the negative log-likelihood of z, `-GaussianMixture.score_samples`, z being a code with
the logarithm of its reconstruction's relative error behind, each divided by its standard deviation over normal rows.
One component is a Mahalanobis distance; several follow normal items that are of several kinds. It tells items that are
rebuilt well, but by a code that no normal item has. As in DAGMM (Zong et al. 2018), but fitted after the training.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from saescope.store.errors import DataError, OptionError

MOST_FEATURES = 256
"""Width of codes whose covariances are fitted at most."""
MOST_ROWS = 20_000
RIDGE = 1e-3
"""Added to the variances, of rows whose variance is 1."""
N_ITERATIONS = 50


def check_width(n_features: int) -> None:
    """`OptionError` for codes whose covariances would be too large."""
    if n_features > MOST_FEATURES:
        raise OptionError(
            f"codes of {n_features:,} features are too wide for a density of codes; at most {MOST_FEATURES}",
            "leave --code-components out, or use an autoencoder with a narrow code",
        )


@dataclass(frozen=True)
class Mixture:
    """Weights, means and Cholesky factors of the precisions."""

    spread: Float64[np.ndarray, " d"]
    """Standard deviations over normal rows, 1 where one does not vary: rows are divided by them."""
    log_weights: Float64[np.ndarray, " component"]
    means: Float64[np.ndarray, "component d"]
    factors: Float64[np.ndarray, "component d d"]

    @staticmethod
    def fit(codes: Float64[np.ndarray, "row d"], n_components: int, seed: int) -> Mixture:
        if len(codes) <= n_components:
            raise DataError(
                f"{len(codes):,} normal items are too few for {n_components} components", "lower --code-components"
            )
        spread = codes.std(axis=0)
        spread[spread == 0] = 1.0
        model = GaussianMixture(
            n_components,
            random_state=seed,
            reg_covar=RIDGE,
            max_iter=N_ITERATIONS,
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # good enough is good enough: the score is judged itself
            model.fit(codes / spread)
        return Mixture(spread, np.log(model.weights_), model.means_, model.precisions_cholesky_)

    def scores(self, codes: Float64[np.ndarray, "row d"]) -> Float64[np.ndarray, " row"]:
        """Negative log-likelihood of each row."""
        codes, d = codes / self.spread, codes.shape[1]
        each = np.empty((len(codes), len(self.means)))
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            scaled = (codes - mean) @ factor
            each[:, k] = np.log(np.diag(factor)).sum() - 0.5 * ((scaled * scaled).sum(axis=1) + d * np.log(2 * np.pi))
        scores: Float64[np.ndarray, " row"] = -logsumexp(each + self.log_weights, axis=1)
        return scores
