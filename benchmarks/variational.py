"""What a variational autoencoder reaches on MNIST: the test ELBO in nats per image, beside published figures.

    python benchmarks/variational.py --images MNIST_FOLDER [--minutes 5] [--features 50] [--picture samples.png]

Trained on dynamically binarised images (each pixel drawn anew as 0 or 1 in every step, with its grey value as the
probability) and judged on test images that were binarised once by a seed, so that a Bernoulli's likelihood is one.
Binarisation decides figures: on grey images the same formula is no likelihood, and those of the fixed binarisation of
Larochelle & Murray (2011) compare with each other alone.

Printed beside the ELBO is the importance-weighted bound of K draws (Burda et al. 2016), which approaches log p(x) from
below as K grows:

    log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),    z_k drawn from q(z|x)

Published for 784-200-200-50, one stochastic layer of 50 units, dynamic binarisation: log p(x) of -86.76 (VAE) and
-84.78 (IWAE, K = 50) after 3,280 passes over the data (Burda et al. 2016, table 1, estimated with K = 5,000). A VAE's
ELBO lies below its log p(x).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saescope.autoencoders.variational.module import VariationalAutoencoder
from saescope.checkpoints import load_sae
from saescope.sources import SourceOptions, open_source
from saescope.training import TrainingConfig
from saescope.workflows.train import train

PUBLISHED = {"VAE, log p(x)": -86.76, "IWAE of 50 draws, log p(x)": -84.78}
SEED = 0
BATCH = 250
TRIAL_STEPS = 60
"""Steps that show how many fit into the given time."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, about")
    parser.add_argument("--steps", type=int, help="in place of --minutes")
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--draws", type=int, default=100, help="K of the importance-weighted bound")
    parser.add_argument("--rows", type=int, default=10_000, help="test images that are judged")
    parser.add_argument("--picture", type=Path, help="where a picture of samples is written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        steps = options.steps or steps_for(options, Path(scratch))
        started = time.perf_counter()
        model = trained(options, steps, Path(scratch) / "run")
        seconds = time.perf_counter() - started
    x = binarised_test_images(options.images, options.rows)
    elbo, likelihood, divergence, used = judged(model, x)
    print(f"{steps:,} steps in {seconds:.0f} s on {torch.get_num_threads()} threads; {len(x):,} test images")
    print(f"ELBO {elbo:.2f} nats per image = log p(x|z) {likelihood:.2f} - KL {divergence:.2f}; {used} units used")
    print(f"importance-weighted bound of {options.draws} draws: {importance_bound(model, x, options.draws):.2f}")
    print("published (Burda et al. 2016): " + "; ".join(f"{name} {value}" for name, value in PUBLISHED.items()))
    if options.picture is not None:
        write_samples(model, options.picture)
        print(f"samples: {options.picture}")
    return 0


def trained(options: argparse.Namespace, steps: int, out: Path) -> VariationalAutoencoder:
    """The model after so many steps on the training split."""
    config = TrainingConfig(
        "variational",
        n_features=options.features,
        loss="bce",
        binarise=True,
        batch_size=BATCH,
        steps=steps,
        seed=SEED,
    )
    sae = load_sae(train(SourceOptions(images=str(options.images)), config, out, device="cpu").checkpoint)
    assert isinstance(sae, VariationalAutoencoder)
    return sae


def steps_for(options: argparse.Namespace, scratch: Path) -> int:
    """Steps that fit into the time."""
    trained(options, 1, scratch / "first")  # what opening the data costs
    started = time.perf_counter()
    trained(options, 1, scratch / "one")
    fixed = time.perf_counter() - started
    started = time.perf_counter()
    trained(options, TRIAL_STEPS, scratch / "trial")
    each = (time.perf_counter() - started - fixed) / (TRIAL_STEPS - 1)
    return max(100, int((60 * options.minutes - fixed) / each))


def binarised_test_images(images: Path, n: int) -> Tensor:
    """Test images, each pixel drawn once as 0 or 1."""
    table = open_source(SourceOptions(images=str(images), split="test")).table()
    x = table.rows(np.arange(min(n, table.n_rows)))
    return torch.bernoulli(x, generator=torch.Generator().manual_seed(SEED))


@torch.inference_mode()
def judged(model: VariationalAutoencoder, x: Tensor) -> tuple[float, float, float, int]:
    """ELBO, log p(x|z) and KL, means over images in nats, and how many units have a mean KL above 0.01."""
    generator = torch.Generator().manual_seed(SEED)
    q = model.posterior(x)
    likelihood = float(model.log_likelihood(model.outputs(q.draw(generator)), x).double().mean())
    divergence = q.divergence.double().mean(0)
    kl = float(divergence.sum())
    return likelihood - kl, likelihood, kl, int((divergence > 0.01).sum())


@torch.inference_mode()
def importance_bound(model: VariationalAutoencoder, x: Tensor, n_draws: int) -> float:
    """Mean over images of the bound of `n_draws` draws, nats."""
    generator = torch.Generator().manual_seed(SEED)
    q = model.posterior(x)
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for _ in range(n_draws):
        z = q.draw(generator)
        # log p(z) - log q(z|x): what both densities share, n log 2 pi / 2, cancels
        of_prior = -0.5 * z.square().sum(1)
        of_posterior = -0.5 * ((z - q.mean).square() / q.log_variance.exp() + q.log_variance).sum(1)
        weight = model.log_likelihood(model.outputs(z), x) + of_prior - of_posterior
        total = torch.logaddexp(total, weight.double())
    return float((total - math.log(n_draws)).mean())


@torch.inference_mode()
def write_samples(model: VariationalAutoencoder, path: Path, side: int = 10) -> None:
    """Draws from the prior, `side` x `side` of them; means of p(x|z)."""
    z = torch.empty(side**2, model.n_features).normal_(generator=torch.Generator().manual_seed(SEED))
    pixels = round(model.d_out**0.5)
    tiles = model.decode(z).view(side, side, pixels, pixels).permute(0, 2, 1, 3).reshape(side * pixels, -1)
    Image.fromarray((255 * tiles.clamp(0, 1)).round().byte().numpy()).save(path)


if __name__ == "__main__":
    sys.exit(main())
