"""What every method does: find atoms in training rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64
from sklearn.exceptions import ConvergenceWarning

from saescope.baselines.settings import DrawnSettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError

DRAW = 17
"""Second number of the seed that training rows are drawn by."""


@dataclass(frozen=True)
class Atoms:
    """What a method found, in raw units."""

    atoms: Float64[np.ndarray, "n_features d_in"]
    offset: Float64[np.ndarray, " d_in"]
    """What a zero code stands for."""
    n_rows: int
    """Training rows that it was fitted on."""
    filters: Float64[np.ndarray, "n_features d_in"] | None = None
    """What gives the codes of x - offset, where a linear map does."""


class Fit(Protocol):
    """Fits a method."""

    def __call__(self, table: ActivationTable, settings: Any, progress: Progress) -> Atoms:
        """Atoms for the rows of `table`. `settings.check` was passed. `DataError` for rows that it cannot be fitted
        on. The same rows and settings give the same bits."""
        ...


def drawn(table: ActivationTable, settings: DrawnSettings) -> Float64[np.ndarray, "row d_in"]:
    """The training rows that a method holds, a seeded draw in the table's order. `DataError` where they are not finite
    or never vary."""
    n = settings.fitted_rows(table.d_in, table.n_rows)
    if table.n_rows < 1:
        raise DataError("the data has no positions to fit a baseline on; expected at least 1")
    chosen = np.arange(table.n_rows, dtype=np.int64)
    if n < table.n_rows:
        rng = np.random.default_rng([settings.seed, DRAW])
        chosen = np.sort(rng.choice(table.n_rows, size=n, replace=False)).astype(np.int64)
    rows: Float64[np.ndarray, "row d_in"] = table.rows(chosen).cpu().numpy().astype(np.float64)
    if not np.isfinite(rows).all():
        raise DataError("the activations hold NaN or infinite values", "remove or mask those positions")
    if bool((rows == rows[0]).all()):
        raise DataError(f"all {n} activations are equal, so there is nothing to fit", "give data that vary")
    return rows


def signs(vectors: Float64[np.ndarray, "n d_in"]) -> Float64[np.ndarray, "n 1"]:
    """Factors of 1 or -1 that make each vector's entry of largest magnitude positive: methods leave signs open."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    factors: Float64[np.ndarray, "n 1"] = np.where(largest < 0, -1.0, 1.0)
    return factors


def unit(atoms: Float64[np.ndarray, "n d_in"]) -> Float64[np.ndarray, "n d_in"]:
    """Atoms of norm 1; what is 0 stays."""
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    scaled: Float64[np.ndarray, "n d_in"] = atoms / np.where(norms > 0, norms, 1.0)
    return scaled


@contextmanager
def quiet() -> Iterator[None]:
    """Without scikit-learn's warnings that a bounded number of steps was not enough: the bound is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
