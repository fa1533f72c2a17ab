"""Independent components by scikit-learn's FastICA (Hyvärinen & Oja 2000)."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import FastICA

from saescope.baselines.method import Atoms, drawn, quiet, signs, unit
from saescope.baselines.settings import IcaSettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError

NO_VARIANCE = 1e-10
"""Variance of a direction, over the largest, from which on it counts as one."""


def fit(table: ActivationTable, settings: IcaSettings, progress: Progress) -> Atoms:
    """Atoms are the columns of the mixing matrix at norm 1, those that add most variance first; filters are the rows
    of the unmixing matrix, scaled in return.

    The rows are whitened here: FastICA's own whitening multiplies by the sign of each direction's first entry, which is
    0 where the first dimension never varies.
    """
    rows = drawn(table, settings)
    assert settings.n_components is not None
    mean = rows.mean(0)
    variances, directions = np.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))  # ascending
    rank = int((variances > NO_VARIANCE * variances[-1]).sum())
    if settings.n_components > rank and not settings.fewer:
        raise DataError(
            f"ica with {settings.n_components} components, but the rows vary in {rank} directions only",
            "give fewer components",
        )
    n = min(settings.n_components, rank)
    scales, along = np.sqrt(variances[::-1][:n]), directions.T[::-1][:n]
    along = along * np.where(along[:, :1] < 0, -1.0, 1.0)  # as FastICA has them
    progress.update("fitting independent components", 0, 1)
    method = FastICA(whiten=False, max_iter=settings.iterations, random_state=settings.seed)
    with quiet():
        method.fit((rows - mean) @ along.T / scales)
    progress.update("fitting independent components", 1, 1)
    mixing = method.mixing_.T @ (scales[:, None] * along)
    filters = method.components_ @ (along / scales[:, None])
    norms = np.linalg.norm(mixing, axis=1)
    order = np.argsort(-norms, kind="stable")
    up = signs(mixing[order])
    return Atoms(unit(mixing)[order] * up, mean, len(rows), filters=(filters * norms[:, None])[order] * up)
