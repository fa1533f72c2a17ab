"""Whether other features have taken over what a letter's main features should say, at one position.

The formulas are SAEBench's (Karvonen et al. 2025, `feature_absorption_calculator`), after Chanin et al. 2024. p is the
unit direction of the letter's probe and x the activation, as it comes: no bias is taken off either. What feature i adds
along p is f_i d_i . p, with d_i its atom: f_i cos(d_i, p) where atoms have norm 1, as SAEBench's have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

FULL_COSINE = 0.025
"""Least cosine with p of the feature that absorbs all."""
FRACTION_COSINE = 0.1
"""Least cosine with p of the features that absorb a part."""
LEAST_SHARE = 0.4
"""Least part of x . p that what absorbs has to add."""
MOST_ABSORBERS = 3
"""Features that may absorb a part together."""


@dataclass(frozen=True)
class Projections:
    """The features that fire at one position, seen along p."""

    along: Float[np.ndarray, " firing"]
    """f_i d_i . p"""
    cosines: Float[np.ndarray, " firing"]
    """cos(d_i, p)"""
    is_main: Bool[np.ndarray, " firing"]
    """Whether each is one of the letter's main features."""
    total: float
    """x . p"""


def is_fully_absorbed(at: Projections) -> bool:
    """No main feature fires, and the feature that adds most along p has a cosine of `FULL_COSINE` or more and adds
    `LEAST_SHARE` of x . p or more. Never where x . p is not above 0."""
    if at.is_main.any() or not len(at.along) or at.total <= 0:
        return False
    top = int(at.along.argmax())
    return bool(at.cosines[top] >= FULL_COSINE and at.along[top] >= LEAST_SHARE * at.total)


def absorbed_fraction(at: Projections) -> float:
    """How much of what is said along p is said by others than the main features, 0 to 1.

    m is what the main features add; a what the `MOST_ABSORBERS` others add that add most, have a cosine of
    `FRACTION_COSINE` or more and add something. 0 where m >= x . p or a < `LEAST_SHARE` (x . p); else 1 where m <= 0;
    else A / (A + m) with A = min(a, x . p - m).
    """
    main = float(at.along[at.is_main].sum())
    others = at.along[~at.is_main & (at.cosines >= FRACTION_COSINE) & (at.along > 0)]
    absorbers = float(np.sort(others)[-MOST_ABSORBERS:].sum())
    if at.total <= 0 or main >= at.total or absorbers < LEAST_SHARE * at.total:
        return 0.0
    if main <= 0:
        return 1.0
    absorbed = min(absorbers, at.total - main)
    return absorbed / (absorbed + main)
