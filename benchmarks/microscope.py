"""A microscope denoiser that has never seen a clean picture: Poisson noise on scikit-image's picture of cells
(immunohistochemistry, in grey).

    python benchmarks/microscope.py [--out microscope] [--photons 20] [--side 10] [--features 32] [--steps 1000]
                                    [--seed 0] [--picture MICROSCOPE.png]

Two captures of the same field are drawn: the photons at each pixel follow a Poisson distribution whose mean is the
picture's brightness times --photons (at white). The left two thirds of each are cut into overlapping squares and
written as two stacks, on which `saescope train --pair` trains a convolutional autoencoder; another is trained on the
first capture with the clean picture as its target. Both, and classical denoisers with parameters and tone curves chosen
on the left part, then denoise the right third: PSNR (dB) and SSIM against the clean picture. The picture has a square
of the right third, in two rows: the capture, the best classical denoiser, and the clean one; below, what the two models
make of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from denoising import CaptureAndClean
from drawing import write_sheet
from skimage import color, data

from saescope.checkpoints import load_sae, read_config
from saescope.denoising.classical import choose
from saescope.denoising.denoiser import Denoiser, corruption_of
from saescope.denoising.quality import Pictures, psnr, ssim
from saescope.training import TrainingConfig, train

Picture = npt.NDArray[np.float32]
CHOSEN_ON = 200
"""Squares that classical denoisers are chosen on."""
SHOWN = 128
"""Side of what the picture shows of the right third, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("microscope"), help="new folder")
    parser.add_argument("--photons", type=float, default=20)
    parser.add_argument("--side", type=int, default=10, help="of the squares, in pixels")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="a PNG to write")
    given = parser.parse_args()
    given.out.mkdir()
    clean = color.rgb2gray(data.immunohistochemistry()).astype(np.float32)
    drawn = np.random.default_rng(given.seed)
    captures = [(drawn.poisson(clean * given.photons) / given.photons).astype(np.float32) for _ in range(2)]
    split = clean.shape[1] * 2 // 3
    squares = {
        name: cut(picture[:, :split], given.side)
        for name, picture in (("clean", clean), ("first", captures[0]), ("second", captures[1]))
    }
    for name, stack in squares.items():
        np.save(given.out / f"{name}.npy", stack)
    right = {name: picture[None, :, split:] for name, picture in (("clean", clean), ("noisy", captures[0]))}
    for name, picture in right.items():
        np.save(given.out / f"right-{name}.npy", picture)
    print(f"{len(squares['clean']):,} squares of {given.side} x {given.side}; the rest of the field is denoised")
    print("| | PSNR (dB) | SSIM |")
    print("|---|---|---|")
    noisy, whole = right["noisy"][..., None], right["clean"][..., None]
    report("one noisy capture", noisy, whole)
    chosen = np.sort(drawn.permutation(len(squares["clean"]))[:CHOSEN_ON])
    best, shown = -np.inf, [noisy, noisy, whole]
    for classical in choose(squares["clean"][chosen, ..., None], squares["first"][chosen, ..., None]):
        found = classical.denoise(noisy)
        quality = report(f"{classical.name} ({classical.chosen})", found, whole)
        if quality > best:
            best, shown[1] = quality, found
    shown += [model.denoised(noisy[0])[None] for model in (on_two_captures(given), on_clean_targets(given, squares))]
    report("trained on two noisy captures", shown[-2], whole)
    report("trained on a noisy and the clean picture", shown[-1], whole)
    if given.picture:
        part = [picture[0, :SHOWN, :SHOWN, 0] for picture in shown]
        write_sheet([part[:3], part[3:]], given.picture, scale=2)


def on_two_captures(given: argparse.Namespace) -> Denoiser:
    """A model that has seen no clean picture."""
    out, folder = given.out, given.out / "model"
    pair = ["--images", out / "first.npy", "--pair", out / "second.npy"]
    size = ["--n-features", given.features, "--steps", given.steps, "--seed", given.seed]
    saescope("train", *pair, "--arch", "convolutional", *size, "--out", folder)
    return Denoiser.of(load_sae(folder), read_config(folder), "the model")


def on_clean_targets(given: argparse.Namespace, squares: dict[str, Picture]) -> Denoiser:
    """The same model, trained to rebuild the clean picture from the first capture."""
    shape = (given.side, given.side, 1)
    table = CaptureAndClean(*(squares[name].reshape(-1, given.side**2) for name in ("clean", "first", "clean")))
    config = TrainingConfig("convolutional", given.features, steps=given.steps, seed=given.seed, input_shape=shape)
    about = {"data_sha256": "cells", "held_out": None, "input_shape": shape}
    folder = train(table, config, given.out / "model-clean", description=about, device="cpu")
    return Denoiser(load_sae(folder), shape, corruption_of({}), (0.0, 1.0))


def cut(picture: Picture, side: int) -> Picture:
    """Squares of a picture, a quarter of a side apart: [square, side, side]."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side))[:: side // 4, :: side // 4]
    return np.ascontiguousarray(windows.reshape(-1, side, side))


def report(title: str, pictures: Pictures, clean: Pictures) -> float:
    found = float(psnr(clean, pictures, 1.0)[0]), float(ssim(clean, pictures, 1.0)[0])
    print(f"| {title} | {found[0]:.2f} | {found[1]:.3f} |", flush=True)
    return found[0]


def saescope(*arguments: object) -> None:
    command = [sys.executable, "-m", "saescope.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
