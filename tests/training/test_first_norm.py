"""The norm that free atoms begin with, chosen by the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.first_norm import first_norm, leading_share
from tests.training.arrays import ArrayTable
from tests.training.test_run import new_run


def spread(along_first: float) -> np.ndarray:
    """Rows of 10 dimensions, the first with `along_first` of the variance, off centre and turned."""
    rng = np.random.default_rng(0)
    scales = np.sqrt(np.array([along_first, *[(1 - along_first) / 9] * 9]))
    turned, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    return (rng.normal(size=(4000, 10)) * scales) @ turned.T + 7.0


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.9])
def test_the_share_of_the_leading_direction_is_that_of_the_largest_eigenvalue(share: float) -> None:
    x = spread(share)
    values = np.linalg.eigvalsh(np.cov(x.T))
    assert leading_share(torch.from_numpy(x).float()) == pytest.approx(values[-1] / values.sum(), rel=0.01)


def test_data_that_do_not_vary_have_no_leading_direction() -> None:
    assert leading_share(torch.full((5, 3), 2.0)) == 0.0


def test_a_norm_that_is_given_is_taken() -> None:
    assert first_norm(0.7, torch.from_numpy(spread(0.9))) == 0.7


@pytest.mark.parametrize(("share", "norm"), [(0.2, 0.1), (0.5, 1.0)])
@pytest.mark.parametrize("architecture", ["relu", "gated", "jumprelu"])
def test_atoms_begin_small_unless_one_direction_dominates(architecture: str, share: float, norm: float) -> None:
    run = new_run(ArrayTable(spread(share)), architecture, target_l0=3.0)
    torch.testing.assert_close(run.model.atoms.norm(dim=1), torch.full((64,), norm))
    torch.testing.assert_close(run.model.encoder_rows.norm(dim=1), torch.full((64,), norm))
