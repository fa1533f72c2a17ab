"""The features that say a letter: k-sparse probes (Chanin et al. 2024), with k as long as one more helps.

Features are ranked by a logistic regression on all of them with an L1 penalty, as in SAEBench; only those that speak
for the letter count. With the first k of them a probe is fitted on one half of the words and judged on the other; k
grows while F1 does by more than `LEAST_GAIN`. Two or more are a feature that was split.

Shape symbols: `word` positions at which words begin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from saescope.metrics.logistic import f1, fit_logistic

MOST_MAIN = 10
"""Features that are tried."""
LEAST_GAIN = 0.03
"""By how much more than this one more feature has to raise F1."""
L1_WEIGHT = 0.01
"""Weight of the L1 penalty beside the mean loss. Codes are in units of their feature's mean |f| where it fires, and
the letter's words weigh as much as all the others."""

_L1: dict[str, Any] = {"penalty": "l1"} if LogisticRegression().penalty == "l2" else {"l1_ratio": 1.0}
"""How scikit-learn is told so: before 1.8, and since."""


def main_features(
    codes: csr_array, is_letter: Bool[np.ndarray, " word"], judging: Bool[np.ndarray, " word"]
) -> list[int]:
    """The letter's main features, the strongest first; none where no feature speaks for it.

    `codes` [word, feature] holds firings only; `judging` marks the half that probes are judged on.
    """
    fitted, judged = codes[~judging], codes[judging]
    y, truth = is_letter[~judging], is_letter[judging]
    ranked = _ranked(fitted, y)
    chosen, best = 0, -np.inf
    for k in range(1, len(ranked) + 1):
        probe = fit_logistic(fitted[:, ranked[:k]].toarray(), y, balanced=True)
        found = f1(probe.scores(judged[:, ranked[:k]].toarray()) > 0, truth)
        if found <= best + LEAST_GAIN:
            break
        chosen, best = k, found
    return [int(feature) for feature in ranked[:chosen]]


def _ranked(codes: csr_array, y: Bool[np.ndarray, " word"]) -> Int64[np.ndarray, " k"]:
    """Up to `MOST_MAIN` features of positive weight, the largest first; of equal ones the lower."""
    n, n_letter = len(y), int(y.sum())
    model = LogisticRegression(
        solver="liblinear",
        C=1 / (L1_WEIGHT * n),
        class_weight={0: 1.0, 1: (n - n_letter) / n_letter},
        max_iter=1000,
        random_state=0,
        **_L1,
    )
    weights = model.fit(_in_typical_units(codes), y.astype(np.int64)).coef_[0]
    order = np.argsort(-weights, kind="stable")[:MOST_MAIN]
    return order[weights[order] > 0]


def _in_typical_units(codes: csr_array) -> csr_array:
    """Codes over their feature's mean |f| where it fires; with the index type and precision that liblinear takes."""
    values, features = codes.data.astype(np.float64), codes.indices
    n_firing = np.bincount(features, minlength=codes.shape[1])
    total: Float[np.ndarray, " feature"] = np.bincount(features, np.abs(values), minlength=codes.shape[1])
    mean = np.divide(total, n_firing, out=np.ones_like(total), where=n_firing > 0)
    indices, pointers = features.astype(np.int32), codes.indptr.astype(np.int32)
    return csr_array((values / mean[features], indices, pointers), shape=codes.shape)
