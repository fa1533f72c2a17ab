"""Denoising MNIST: trained models beside classical denoisers, one model of many noise levels, and noisy targets.

    python benchmarks/denoising.py --images MNIST_FOLDER [--seconds 300 | --steps N] [--seeds 3] [--threads 2]
                                   [--parts classical,model,levels,pairs] [--picture LEVELS.png] [--small]

Figures are means over the test images of PSNR (dB) and SSIM, of outputs clipped to [0, 1]; every method sees the same
noisy images. Training takes about --seconds each: the steps that fit are counted beforehand, unless --steps says them.

* classical: noise of standard deviation 0.4, clipped to [0, 1]; denoisers of scikit-image and SciPy, as they are and
  followed by a tone curve, parameters and curves chosen on 200 training images.
* model: a convolutional autoencoder at that level, for each seed, alone and as the mean over shifts (cycle spinning).
* levels: one model of the levels 0 to 0.8 that is told the level, one that is not, and one for each of five levels.
  The picture has ten test images a level, noisy and below it as the model that is told makes them, then the clean ones.
* pairs: noise of standard deviation 0.4 that is not clipped (a clipped capture is no unbiased target); one model of two
  noisy captures of each training image, one of the first capture with the clean image as its target, and one of clean
  images with noise drawn anew at each step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawing import write_sheet

from saescope.autoencoders.protocol import Autoencoder
from saescope.checkpoints import load_sae
from saescope.denoising.classical import choose
from saescope.denoising.cycle_spinning import cycle_spun
from saescope.denoising.quality import psnr, ssim
from saescope.sources import SourceOptions, open_source
from saescope.sources.protocol import ActivationTable
from saescope.training import TrainingConfig, train
from saescope.training.trainer import cpu_has_bfloat16
from saescope.workflows.divided_source import open_to_train

LEVEL = 0.4
LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8)
RECIPE: dict[str, Any] = {
    "n_features": 256,
    "loss": "psnr",
    "output": "sigmoid",
    "lr": 0.01,
    "autocast": torch.cuda.is_available() or cpu_has_bfloat16(),
}
CLIPPED: dict[str, Any] = {"corruption": "gaussian", "noise_range": (0.0, 1.0)}
PARTS = ("classical", "model", "levels", "pairs")
SHOWN = 10
COUNTED_STEPS = (40, 160)
"""Steps of two short runs, whose difference is the time of a step."""


@dataclass(frozen=True)
class Images:
    """Images as a table of activations."""

    clean: np.ndarray

    @property
    def n_rows(self) -> int:
        return len(self.clean)

    @property
    def d_in(self) -> int:
        return int(self.clean.shape[1])

    def rows(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.clean[indices])


@dataclass(frozen=True)
class Captured(Images):
    """Their first noisy captures, and what these are rebuilt as."""

    first: np.ndarray
    target: np.ndarray

    def rows(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.first[indices])


class CaptureAndClean(Captured):
    """With the clean image (a `PairedTable`)."""

    @property
    def d_out(self) -> int:
        return self.d_in

    def pairs(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows(indices), torch.from_numpy(self.target[indices])


class TwoCaptures(Captured):
    """With a second one (a `CapturedTable`)."""

    def captures(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows(indices), torch.from_numpy(self.target[indices])


@dataclass
class Benchmark:
    """The images, and how long to train."""

    train: np.ndarray
    test: np.ndarray
    shape: tuple[int, int, int]
    seconds: float
    steps: int | None
    scratch: Path
    counted: dict[str, float] = field(default_factory=dict)
    """Seconds of a step, by what is trained."""

    def trained(self, table: ActivationTable, name: str, seed: int = 0, **settings: Any) -> Autoencoder:
        """A model, after about so many seconds of training."""
        kind = f"{settings['loss']} {type(table).__name__}"
        if self.steps is None and kind not in self.counted:
            few, many = (self._run(table, f"{kind} {n}", seed, {**settings, "steps": n})[1] for n in COUNTED_STEPS)
            self.counted[kind] = max(many - few, 1e-3) / (COUNTED_STEPS[1] - COUNTED_STEPS[0])
        steps = self.steps or max(COUNTED_STEPS[0], round(self.seconds / self.counted[kind]))
        folder, seconds = self._run(table, name, seed, {**settings, "steps": steps})
        print(f"<!-- {name}: {steps:,} steps in {seconds:.0f} s -->", flush=True)
        return load_sae(folder)

    def _run(self, table: ActivationTable, name: str, seed: int, settings: dict[str, Any]) -> tuple[Path, float]:
        started = time.perf_counter()
        config = TrainingConfig("convolutional", seed=seed, input_shape=self.shape, **settings)
        about = {"data_sha256": name, "held_out": None, "input_shape": self.shape}
        folder = train(table, config, self.scratch / name.replace(" ", "-"), description=about)
        return folder, time.perf_counter() - started

    def figures(self, denoised: np.ndarray) -> tuple[float, float]:
        """Mean PSNR and SSIM over the test images."""
        clean, found = (values.reshape(-1, *self.shape) for values in (self.test, denoised.clip(0, 1)))
        return float(psnr(clean, found, 1.0).mean()), float(ssim(clean, found, 1.0).mean())

    def noisy(self, images: np.ndarray, level: float, clip: bool = True, seed: int = 0) -> np.ndarray:
        """Images with noise of a level."""
        made = images + level * np.random.default_rng(seed).standard_normal(images.shape, np.float32)
        return made.clip(0, 1) if clip else made


def rebuilt(model: Autoencoder, noisy: np.ndarray, level: float) -> np.ndarray:
    """What a model makes of noisy images; one that takes the level is told it."""
    model.noise_level = level
    with torch.no_grad():
        parts = [model(torch.from_numpy(part)).reconstruction for part in np.array_split(noisy, len(noisy) // 500 + 1)]
    return torch.cat(parts).numpy()


def spun(model: Autoencoder, noisy: np.ndarray, level: float, shape: tuple[int, int, int]) -> np.ndarray:
    """The mean over shifts of what a model makes of noisy images."""

    def each(pictures: np.ndarray) -> np.ndarray:
        return rebuilt(model, pictures.reshape(noisy.shape), level).reshape(pictures.shape)

    return cycle_spun(noisy.reshape(-1, *shape), each).reshape(noisy.shape)


def classical(bench: Benchmark) -> None:
    """Prints every classical denoiser."""
    random = np.random.default_rng(1)
    clean = bench.train[random.choice(len(bench.train), min(200, len(bench.train)), replace=False)]
    noisy = bench.noisy(bench.test, LEVEL)
    print(f"| denoiser at {LEVEL:g} | parameters | PSNR, dB | SSIM |\n|---|---|---|---|")
    ratio, alike = bench.figures(noisy)
    print(f"| none | | {ratio:.2f} | {alike:.3f} |")
    for denoiser in choose(*(x.reshape(-1, *bench.shape) for x in (clean, bench.noisy(clean, LEVEL, seed=2)))):
        found = denoiser.denoise(noisy.reshape(-1, *bench.shape)).reshape(noisy.shape)
        ratio, alike = bench.figures(found)
        print(f"| {denoiser.name} | {denoiser.chosen} | {ratio:.2f} | {alike:.3f} |", flush=True)


def model(bench: Benchmark, seeds: int) -> None:
    """Prints the model at one level, for each seed."""
    print(f"| model at {LEVEL:g} | PSNR, dB | SSIM |\n|---|---|---|")
    noisy = bench.noisy(bench.test, LEVEL)
    for seed in range(seeds):
        found = bench.trained(Images(bench.train), f"seed {seed}", seed, **RECIPE, **CLIPPED, noise=(LEVEL,))
        ratio, alike = bench.figures(rebuilt(found, noisy, LEVEL))
        print(f"| convolutional, seed {seed} | {ratio:.2f} | {alike:.3f} |", flush=True)
        ratio, alike = bench.figures(spun(found, noisy, LEVEL, bench.shape))
        print(f"| convolutional, seed {seed}, cycle spinning | {ratio:.2f} | {alike:.3f} |", flush=True)


def levels(bench: Benchmark, picture: Path | None) -> None:
    """Prints one model of all levels beside one that is not told and those of one level each."""
    span = (LEVELS[0], LEVELS[-1])
    models = {
        "told": bench.trained(Images(bench.train), "told", **RECIPE, **CLIPPED, noise=span, noise_conditioning=True),
        "not told": bench.trained(Images(bench.train), "not told", **RECIPE, **CLIPPED, noise=span),
    }
    print("| level | told | not told | trained for the level |\n|---|---|---|---|")
    rows = []
    for level in LEVELS:
        own = bench.trained(Images(bench.train), f"level {level:g}", **RECIPE, **CLIPPED, noise=(level,))
        noisy = bench.noisy(bench.test, level)
        denoised = [rebuilt(m, noisy, level) for m in (*models.values(), own)]
        print(f"| {level:g} | " + " | ".join(f"{bench.figures(d)[0]:.2f}" for d in denoised) + " |", flush=True)
        rows += [noisy[:SHOWN], denoised[0][:SHOWN]]
    if picture is not None:
        rows.append(bench.test[:SHOWN])
        write_sheet([list(row.reshape(-1, *bench.shape)[..., 0]) for row in rows], picture, scale=2)


def pairs(bench: Benchmark) -> None:
    """Prints a model of two noisy captures beside models of clean targets."""
    recipe = {**RECIPE, "loss": "mse", "output": "linear"}  # noisy targets are beyond [0, 1]
    first, second = (bench.noisy(bench.train, LEVEL, clip=False, seed=seed) for seed in (3, 4))
    fresh = {"corruption": "gaussian", "noise": (LEVEL,)}
    tables: dict[str, tuple[ActivationTable, dict[str, Any]]] = {
        "two noisy captures": (TwoCaptures(bench.train, first, second), {}),
        "a noisy capture and the clean image": (CaptureAndClean(bench.train, first, bench.train), {}),
        "clean images, noise drawn anew": (Images(bench.train), fresh),
    }
    noisy = bench.noisy(bench.test, LEVEL, clip=False)
    print(f"| trained on, at {LEVEL:g} without clipping | PSNR, dB | SSIM |\n|---|---|---|")
    for name, (table, settings) in tables.items():
        ratio, alike = bench.figures(rebuilt(bench.trained(table, name, **recipe, **settings), noisy, LEVEL))
        print(f"| {name} | {ratio:.2f} | {alike:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="embedded:digits", help="a MNIST-style folder")
    parser.add_argument("--seconds", type=float, default=300, help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, instead")
    parser.add_argument("--seeds", type=int, default=3, help="of the model at one level")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of " + ", ".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="a PNG of the part levels")
    parser.add_argument("--small", action="store_true", help="few images and steps: whether it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = arguments.parts.split(",")
    train_images, test_images, shape = opened(arguments.images)
    if arguments.small:
        train_images, test_images = train_images[:1_000], test_images[:50]
    with tempfile.TemporaryDirectory() as scratch:
        steps = 30 if arguments.small else arguments.steps
        bench = Benchmark(train_images, test_images, shape, arguments.seconds, steps, Path(scratch))
        parts: dict[str, Callable[[], None]] = {
            "classical": lambda: classical(bench),
            "model": lambda: model(bench, 1 if arguments.small else arguments.seeds),
            "levels": lambda: levels(bench, arguments.picture),
            "pairs": lambda: pairs(bench),
        }
        for name in chosen:
            parts[name]()


def opened(images: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Images to train on and to judge by, a row each, and their height, width and channels."""
    data = open_to_train(SourceOptions(images=images))
    judged = open_source(SourceOptions(images=images)).table() if data.judged_by is None else data.judged_by
    found = [table.rows(np.arange(table.n_rows)).numpy() for table in (data.table, judged)]
    height, width, channels = data.source.describe()["input_shape"]
    return found[0], found[1], (height, width, channels)


if __name__ == "__main__":
    main()
