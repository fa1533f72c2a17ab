"""The score of a two-dimensional Gaussian mixture from a denoiser, beside the analytic one.

    python benchmarks/score.py [--seeds 3] [--steps 6000] [--small]

A mixture of five Gaussians of unequal weight and width; a fully connected autoencoder, overcomplete, is trained on
samples with Gaussian noise, and (denoised - noisy) / sigma^2 compared with the gradient of the log density of the
noisy samples. Printed for each level: the relative error, the root of the mean squared difference over that of the
analytic score, over fresh noisy samples whose density is above its 10th percentile, and over all of them. The first
row is a model of one level, the others one that is told it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from saescope.checkpoints import load_sae
from saescope.denoising.score import score
from saescope.training import TrainingConfig, train

LEVELS = (0.3, 0.5, 0.8)
"""Noise levels that are printed."""


class Samples:
    """Samples as a table of activations."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)
        self.n_rows, self.d_in = self.values.shape

    def rows(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.values[indices])


@dataclass(frozen=True)
class Mixture:
    """sum_k w_k N(mu_k, s_k^2 I) in two dimensions."""

    weights: tuple[float, ...] = (0.3, 0.25, 0.2, 0.15, 0.1)
    means: tuple[tuple[float, float], ...] = ((0.0, 0.0), (2.0, 0.5), (-1.5, 1.5), (-1.0, -2.0), (1.5, -1.8))
    widths: tuple[float, ...] = (0.5, 0.3, 0.4, 0.6, 0.3)

    def sample(self, n: int, random: np.random.Generator) -> np.ndarray:
        which = random.choice(len(self.weights), n, p=self.weights)
        return np.array(self.means)[which] + np.array(self.widths)[which, None] * random.normal(size=(n, 2))

    def density_and_score(self, y: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        """Of a sample with noise: each component is wider by it."""
        variances = np.array(self.widths) ** 2 + sigma**2
        away = np.array(self.means)[None] - y[:, None]
        parts = np.array(self.weights) / (2 * np.pi * variances) * np.exp(-0.5 * (away**2).sum(2) / variances)
        density = parts.sum(1)
        return density, (parts[..., None] * away / variances[:, None]).sum(1) / density[:, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--small", action="store_true", help="one seed, few steps: whether it runs")
    arguments = parser.parse_args()
    seeds, steps = (1, 300) if arguments.small else (arguments.seeds, arguments.steps)
    print("| model | sigma | relative error above the 10th percentile | over all |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for told, noise in ((False, (0.3,)), (True, (LEVELS[0], LEVELS[-1]))):
            models = [trained(Path(scratch), s, steps, arguments.samples, noise) for s in range(seeds)]
            for sigma in LEVELS if told else noise:
                errors = np.array([relative_errors(Path(m), sigma, seed) for seed, m in enumerate(models)])
                name = f"told {noise[0]:g} to {noise[-1]:g}" if told else "one level"
                print(f"| {name} | {sigma:g} | {spread(errors[:, 0])} | {spread(errors[:, 1])} |", flush=True)


def trained(scratch: Path, seed: int, steps: int, n: int, noise: tuple[float, ...]) -> Path:
    """The checkpoint of a denoiser of the mixture."""
    samples = Mixture().sample(n, np.random.default_rng(seed))
    config = TrainingConfig(
        "undercomplete",
        n_features=64,
        encoder_widths=(128, 128),
        decoder_widths=(128, 128),
        batch_size=1024,
        steps=steps,
        lr=1e-3,
        lr_decay=0.8,
        seed=seed,
        corruption="gaussian",
        noise=noise,
        noise_conditioning=len(noise) > 1,
        input_transform="none",
        batch_norm=False,
    )
    folder = scratch / f"{seed}-{len(noise)}"
    return train(Samples(samples), config, folder, description={"data_sha256": str(seed), "held_out": None})


def relative_errors(checkpoint: Path, sigma: float, seed: int, n: int = 20_000) -> tuple[float, float]:
    """Where the density of the noisy samples is above its 10th percentile, and over all of them."""
    random = np.random.default_rng([seed, 1])
    noisy = Mixture().sample(n, random) + sigma * random.normal(size=(n, 2))
    density, expected = Mixture().density_and_score(noisy, sigma)
    found = score(load_sae(checkpoint), torch.from_numpy(noisy).float(), sigma).numpy()
    error, size = ((found - expected) ** 2).sum(1), (expected**2).sum(1)
    dense = density > np.percentile(density, 10)
    return float((error[dense].sum() / size[dense].sum()) ** 0.5), float((error.sum() / size.sum()) ** 0.5)


def spread(values: np.ndarray) -> str:
    return f"{values.mean():.1%} ({values.min():.1%} to {values.max():.1%})"


if __name__ == "__main__":
    main()
