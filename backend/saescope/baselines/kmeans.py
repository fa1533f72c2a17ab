"""Centres of k-means as atoms, by scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from saescope.baselines.method import Atoms, drawn, quiet
from saescope.baselines.settings import KmeansSettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable


def fit(table: ActivationTable, settings: KmeansSettings, progress: Progress) -> Atoms:
    """The best of three runs of mini-batch k-means (Sculley 2010) from k-means++ on the drawn rows."""
    rows = drawn(table, settings)
    progress.update("fitting k-means", 0, 1)
    with quiet():
        found = MiniBatchKMeans(settings.n_components, batch_size=4096, n_init=3, random_state=settings.seed).fit(rows)
    progress.update("fitting k-means", 1, 1)
    return Atoms(found.cluster_centers_, np.zeros(table.d_in), len(rows))
