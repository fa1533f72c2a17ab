"""Random directions as atoms: what a dictionary is worth that has learned nothing."""

from __future__ import annotations

import numpy as np

from saescope.baselines.method import Atoms, drawn, unit
from saescope.baselines.settings import RandomSettings
from saescope.progress import Progress
from saescope.sources.protocol import ActivationTable


def fit(table: ActivationTable, settings: RandomSettings, progress: Progress) -> Atoms:
    """Gaussian directions of norm 1, made orthonormal where there are no more of them than dimensions, seen from the
    mean of the drawn rows."""
    rows = drawn(table, settings)
    assert settings.n_components is not None
    directions = np.random.default_rng(settings.seed).normal(size=(settings.n_components, table.d_in))
    if settings.n_components <= table.d_in:
        q, r = np.linalg.qr(directions.T)
        directions = (q * np.sign(np.diag(r))).T  # uniform over all such bases: with QR's own signs it would not be
    return Atoms(unit(directions), rows.mean(0), len(rows))
