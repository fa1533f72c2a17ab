"""One logistic regression: standardised inputs, an L2 penalty of C = 1. Every probe is fitted by it.

Shape symbols: `row` items or positions, `d` what is probed (activations' dimensions or features).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression


@dataclass(frozen=True)
class LogisticProbe:
    """A fitted probe. It says yes where its score is above 0."""

    model: LogisticRegression
    """Fitted on (x - mean) / spread."""
    mean: Float[np.ndarray, " d"]
    spread: Float[np.ndarray, " d"]
    """Standard deviation of each dimension, 1 where it does not vary."""

    def scores(self, x: Float[np.ndarray, "row d"]) -> Float[np.ndarray, " row"]:
        """Log-odds of each row."""
        scores: Float[np.ndarray, " row"] = self.model.decision_function((x - self.mean) / self.spread)
        return scores

    @property
    def direction(self) -> Float[np.ndarray, " d"]:
        """The unit vector along which scores rise, in the units of x; zeros where they do not depend on x."""
        direction = self.model.coef_[0].astype(np.float64) / self.spread
        norm = np.linalg.norm(direction)
        return direction / norm if norm > 0 else direction


def fit_logistic(
    x: Float[np.ndarray, "row d"], y: Bool[np.ndarray, " row"], *, balanced: bool = False
) -> LogisticProbe:
    """Fit a probe for `y`, which has both values. `balanced` gives both the same total weight."""
    mean, spread = x.mean(0), x.std(0)
    spread[spread == 0] = 1.0
    model = LogisticRegression(max_iter=1000, class_weight="balanced" if balanced else None)
    return LogisticProbe(model.fit((x - mean) / spread, y), mean, spread)


def f1(said: Bool[np.ndarray, " row"], truth: Bool[np.ndarray, " row"]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is said and nothing true."""
    total = int(said.sum()) + int(truth.sum())
    return 2 * int((said & truth).sum()) / total if total else 0.0
