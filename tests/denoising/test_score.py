"""The score that a denoiser implies, against the analytic one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saescope.autoencoders.topk.module import TopkAutoencoder, TopkConfig
from saescope.checkpoints import load_sae
from saescope.denoising.score import score
from saescope.store.errors import OptionError
from saescope.training import TrainingConfig, train
from tests.training.arrays import DESCRIPTION, ArrayTable

SIGMA = 0.5
MEANS = np.array([[-1.5, 0.0], [1.0, 1.0], [0.5, -1.5]])
WIDTHS = np.array([0.4, 0.3, 0.5])


def sampled(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    which = random.integers(0, 3, n)
    return MEANS[which] + WIDTHS[which, None] * random.normal(size=(n, 2))


def density_and_score(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    variances = WIDTHS**2 + SIGMA**2
    away = MEANS - y[:, None]
    parts = np.exp(-0.5 * (away**2).sum(2) / variances) / (6 * np.pi * variances)
    return parts.sum(1), (parts[..., None] * away / variances[:, None]).sum(1) / parts.sum(1, keepdims=True)


def test_the_best_denoiser_of_a_gaussian_gives_its_score() -> None:
    """x ~ N(m, s^2): E[x | y] = m + (y - m) s^2 / (s^2 + sigma^2), of which the score is -(y - m) / (s^2 + sigma^2)."""
    m, s2 = torch.tensor([0.5, -1.0]), 0.7**2
    shrinkage = s2 / (s2 + SIGMA**2)
    exact = TopkAutoencoder(TopkConfig(d_in=2, n_features=4, k=4))
    exact.load_tensors(  # y - m in positive and negative parts
        {
            "W_enc": torch.cat([torch.eye(2), -torch.eye(2)], dim=1),
            "W_dec": shrinkage * torch.cat([torch.eye(2), -torch.eye(2)]),
            "b_enc": torch.cat([-m, m]),
            "b_dec": m,
        }
    )
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(score(exact, y, SIGMA), -(y - m) / (s2 + SIGMA**2), rtol=1e-5, atol=1e-5)


def test_a_trained_denoiser_gives_the_score_of_a_mixture(tmp_path: Path) -> None:
    config = TrainingConfig(
        "undercomplete",
        n_features=32,
        encoder_widths=(64,),
        decoder_widths=(64,),
        steps=2500,
        batch_size=512,
        lr=3e-3,
        lr_decay=0.8,
        corruption="gaussian",
        noise=(SIGMA,),
        input_transform="none",
    )
    denoiser = load_sae(train(ArrayTable(sampled(20_000, 0)), config, tmp_path / "run", description=DESCRIPTION))
    y = sampled(4000, 1) + SIGMA * np.random.default_rng(2).normal(size=(4000, 2))
    density, expected = density_and_score(y)
    found = score(denoiser, torch.from_numpy(y).float(), SIGMA).numpy()
    dense = density > np.percentile(density, 10)
    error = ((found - expected)[dense] ** 2).sum() / (expected[dense] ** 2).sum()
    assert error**0.5 < 0.1


def test_a_denoiser_that_is_told_the_level_hears_it() -> None:
    torch.manual_seed(0)
    told = TopkAutoencoder(TopkConfig(d_in=3, n_features=8, k=8, noise_input=True))
    told.load_tensors({name: torch.randn_like(t) for name, t in told.tensors().items()})
    y, sigma = torch.randn(5, 3), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    with torch.no_grad():
        denoised = told(torch.cat([y, sigma[:, None]], 1)).reconstruction
    torch.testing.assert_close(score(told, y, sigma), (denoised - y) / sigma[:, None] ** 2)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_level_that_is_not_above_0_is_refused(sigma: float) -> None:
    with pytest.raises(OptionError, match="above 0"):
        score(TopkAutoencoder(TopkConfig(d_in=3, n_features=8, k=8)), torch.zeros(2, 3), sigma)


def test_a_transcoder_is_refused() -> None:
    with pytest.raises(OptionError, match="implies no score"):
        score(TopkAutoencoder(TopkConfig(d_in=3, n_features=8, k=8, d_out=4)), torch.zeros(2, 3), 0.1)
