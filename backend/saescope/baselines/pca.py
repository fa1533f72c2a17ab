"""Principal components as the reference line of sparsity against reconstruction.

PCA keeps the same `n_components` directions for every position, so its L0 is that number. It is fitted on the data that
an SAE is trained on and measured on the data that the SAE is evaluated on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float64

from saescope.baselines.method import Atoms, signs
from saescope.baselines.settings import PcaSettings
from saescope.progress import SILENT, Progress
from saescope.sources.moments import Moments, measure_moments
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError, OptionError
from saescope.store.format.schema import schema_of

FVU_TRANSFORMED = "fvu_transformed"


def pca_baseline(
    train: ActivationTable,
    evaluate: ActivationTable,
    n_components: Sequence[int],
    whitening: Float[np.ndarray, "d_in d_in"] | None = None,
    progress: Progress = SILENT,
) -> pa.Table:
    """The store's `baselines` rows of PCA, one per number of components, ascending.

    x_hat = m + V V^T (x - m) with the mean m and the leading eigenvectors V of the covariance of `train`. Over the rows
    of `evaluate`: mse = mean over rows and dimensions of (x - x_hat)^2, in raw units; fvu = sum ||x - x_hat||^2 /
    sum ||x - mean(x)||^2 with the mean over these, null where they do not vary. With a `whitening` matrix
    the column `fvu_transformed` holds the FVU of a PCA fitted and measured in the space of x @ whitening.
    """
    counts = sorted(set(n_components))
    if not counts or counts[0] < 0 or counts[-1] > train.d_in:
        raise OptionError(
            f"PCA with {list(n_components)} components; expected numbers from 0 to {train.d_in}, the data's width"
        )
    if train.d_in != evaluate.d_in:
        raise DataError(
            f"PCA is fitted on width {train.d_in} and evaluated on width {evaluate.d_in}; expected the same"
        )
    fitted = measure_moments(train, progress)
    measured = fitted if evaluate is train else measure_moments(evaluate, progress)
    residual, variance = _residuals(fitted, measured)
    columns = {
        "name": pa.array(["pca"] * len(counts), pa.string()),
        "n_components": pa.array(counts, pa.int32()),
        "l0": pa.array([float(c) for c in counts], pa.float64()),
        "mse": pa.array((residual[counts] / train.d_in).tolist(), pa.float64()),
        "fvu": _fractions(residual[counts], variance),
    }
    if whitening is None:
        return pa.table(columns, schema=schema_of("baselines"))
    matrix = np.asarray(whitening, dtype=np.float64)
    residual, variance = _residuals(_transformed(fitted, matrix), _transformed(measured, matrix))
    columns[FVU_TRANSFORMED] = _fractions(residual[counts], variance)
    return pa.table(columns, schema=schema_of("baselines", (pa.field(FVU_TRANSFORMED, pa.float64()),)))


def fit(table: ActivationTable, settings: PcaSettings, progress: Progress = SILENT) -> Atoms:
    """The leading eigenvectors of the covariance of all rows, the largest eigenvalue first."""
    moments = measure_moments(table, progress)
    if not np.isfinite(moments.covariance).all():
        raise DataError("the activations hold NaN or infinite values", "remove or mask those positions")
    if float(np.trace(moments.covariance)) <= 0.0:
        raise DataError(f"all {table.n_rows} activations are equal, so there is nothing to fit", "give data that vary")
    _, vectors = np.linalg.eigh(moments.covariance)  # ascending
    leading = vectors.T[::-1][: settings.n_components]
    leading = leading * signs(leading)
    return Atoms(leading, moments.mean, table.n_rows, filters=leading)


def _residuals(fitted: Moments, measured: Moments) -> tuple[Float64[np.ndarray, " kept"], float]:
    """Mean ||x - x_hat||^2 per row with 0, 1, ..., d_in components kept, and mean ||x - mean(x)||^2.

    The dropped directions' second moments about the fitted mean are summed, smallest first: nothing cancels.
    """
    _, vectors = np.linalg.eigh(fitted.covariance)  # ascending
    offset = (measured.mean - fitted.mean) @ vectors
    along = np.einsum("ij,ij->j", vectors, measured.covariance @ vectors) + offset**2
    residual = np.concatenate([[0.0], np.cumsum(np.maximum(along, 0.0))])[::-1]
    return residual, float(np.trace(measured.covariance))


def _transformed(moments: Moments, matrix: Float64[np.ndarray, "d_in d_in"]) -> Moments:
    return Moments(moments.n_rows, moments.mean @ matrix, matrix.T @ moments.covariance @ matrix)


def _fractions(residual: Float64[np.ndarray, " n"], variance: float) -> pa.Array:
    if variance <= 0.0:
        return pa.nulls(len(residual), pa.float64())
    return pa.array((residual / variance).tolist(), pa.float64())
