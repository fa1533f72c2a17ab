"""Dictionary learning in small batches by scikit-learn (Mairal et al. 2009)."""

from __future__ import annotations

import math

import numpy as np
from sklearn.decomposition import MiniBatchDictionaryLearning

from saescope.baselines.method import Atoms, drawn, quiet, unit
from saescope.baselines.settings import DictionarySettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable


def fit(table: ActivationTable, settings: DictionarySettings, progress: Progress) -> Atoms:
    """Atoms D of norm 1 that minimise the mean over rows of 1/2 ||x - c D||^2 + alpha sum_j |c_j|.

    Rows are centred and scaled by one number so that their mean norm is 1; alpha = penalty / sqrt(d_in).
    """
    rows = drawn(table, settings)
    mean = rows.mean(0)
    centred = rows - mean
    centred /= np.linalg.norm(centred, axis=1).mean()
    progress.update("learning a dictionary", 0, 1)
    method = MiniBatchDictionaryLearning(
        settings.n_components,
        alpha=settings.penalty / math.sqrt(table.d_in),
        batch_size=256,
        max_iter=settings.epochs,
        random_state=settings.seed,
    )
    with quiet():
        method.fit(centred)
    progress.update("learning a dictionary", 1, 1)
    return Atoms(unit(method.components_), mean, len(rows))
