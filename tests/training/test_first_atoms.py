"""What atoms begin with: a norm chosen by the data, and directions by chance or of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saescope.autoencoders.objectives.first_norm import first_norm, leading_share
from saescope.autoencoders.settings.run import DataSize
from saescope.store.errors import UserError
from saescope.training import TrainingConfig
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


@pytest.mark.parametrize("n_features", [64, 150])
def test_atoms_of_data_are_positions_seen_from_b_dec(n_features: int) -> None:
    rows = spread(0.2)[:100]
    rows[3] = 0.0  # no direction: its atom is random
    options = {"n_features": n_features, "first_atoms": "data", "first_b_dec": "zero", "input_transform": "none"}
    run = new_run(ArrayTable(rows), "topk", k=4, **options)
    assert not run.model.b_dec.any()
    directions = torch.from_numpy(rows).float()
    directions /= directions.norm(dim=1, keepdim=True).clamp(min=1e-9)
    cosines = run.model.atoms @ directions.T
    drawn = cosines.max(1).indices[cosines.max(1).values > 1 - 1e-5]
    assert len(drawn) >= n_features - 2
    assert torch.bincount(drawn).max() == -(-n_features // 100)  # none twice before all were drawn
    torch.testing.assert_close(run.model.atoms.norm(dim=1), torch.ones(n_features))


def test_atoms_of_data_begin_from_where_b_dec_begins() -> None:
    rows = spread(0.2)[:100]
    run = new_run(ArrayTable(rows), "topk", k=4, first_atoms="data", input_transform="none")
    torch.testing.assert_close(run.model.b_dec.detach(), torch.from_numpy(rows.mean(0)).float())
    away = torch.from_numpy(rows - rows.mean(0)).float()
    cosines = run.model.atoms @ (away / away.norm(dim=1, keepdim=True)).T
    assert float(cosines.max(1).values.min()) > 1 - 1e-5


def test_a_transcoder_cannot_begin_from_inputs() -> None:
    with pytest.raises(UserError, match="--first-atoms"):
        TrainingConfig("topk", 16, k=4, first_atoms="data").resolve(DataSize(100, 8)).own.check_targets(True, False)


def test_runs_kept_before_atoms_could_be_of_data_keep_their_keys() -> None:
    deciding = [
        TrainingConfig("topk", 16, k=4, **more).resolve(DataSize(100, 8)).deciding()
        for more in ({}, {"first_atoms": "random"}, {"first_atoms": "data"})
    ]
    assert deciding[0] == deciding[1]
    assert {**deciding[0], "first_atoms": "data"} == deciding[2]
