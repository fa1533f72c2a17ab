"""Non-negative matrix factorisation by scikit-learn (Lee & Seung 1999)."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import NMF

from saescope.baselines.method import Atoms, drawn, quiet, unit
from saescope.baselines.settings import NmfSettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable
from saescope.store.errors import DataError


def fit(table: ActivationTable, settings: NmfSettings, progress: Progress) -> Atoms:
    """Atoms at norm 1, in NMF's order. `DataError` where a drawn row has a negative value."""
    rows = drawn(table, settings)
    least = float(rows.min())
    if least < 0:
        raise DataError(
            f"nmf needs data without negative values, and these go down to {least:.4g}",
            "use omp or pca, or data such as pixels and activations after a ReLU",
        )
    progress.update("factorising", 0, 1)
    init = "nndsvda" if (settings.n_components or 0) <= min(rows.shape) else "random"
    method = NMF(settings.n_components, init=init, max_iter=settings.iterations, random_state=settings.seed)
    with quiet():
        method.fit(rows)
    progress.update("factorising", 1, 1)
    return Atoms(unit(method.components_), np.zeros(table.d_in), len(rows))
