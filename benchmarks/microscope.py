"""A microscope denoiser that has never seen a clean picture: Poisson noise on scikit-image's picture of cells
(immunohistochemistry, in grey).

    python benchmarks/microscope.py [--out microscope] [--photons 20] [--side 32] [--steps 2000] [--seed 0]

Two captures of the same field are drawn: the photons at each pixel follow a Poisson distribution whose mean is the
picture's brightness times --photons (at white). The left two thirds of each are cut into overlapping squares and
written as two stacks, on which `saescope train --pair` trains a convolutional autoencoder; another is trained on the
first capture with the clean picture as its target. Both, and classical denoisers with parameters and tone curves chosen
on the left part, then denoise the right third: PSNR (dB) and SSIM against the clean picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import color, data

from saescope.denoising.classical import choose
from saescope.denoising.quality import Pictures, psnr, ssim

Picture = npt.NDArray[np.float32]
CHOSEN_ON = 200
"""Squares that classical denoisers are chosen on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("microscope"), help="new folder")
    parser.add_argument("--photons", type=float, default=20)
    parser.add_argument("--side", type=int, default=32, help="of the squares, in pixels")
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
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
    for classical in choose(squares["clean"][chosen, ..., None], squares["first"][chosen, ..., None]):
        report(f"{classical.name} ({classical.chosen})", classical.denoise(noisy), whole)
    for title, target in (("two noisy captures", "second"), ("noisy and clean", "clean")):
        folder = given.out / f"model-{target}"
        pair = ["--images", given.out / "first.npy", "--pair", given.out / f"{target}.npy"]
        model = [
            "--arch",
            "convolutional",
            "--n-features",
            given.features,
            "--steps",
            given.steps,
            "--seed",
            given.seed,
        ]
        saescope("train", *pair, *model, "--out", folder)
        compared = ["--clean", given.out / "right-clean.npy", "--out", given.out / f"denoised-{target}", "--json"]
        found = json.loads(saescope("denoise", folder, given.out / "right-noisy.npy", *compared))
        print(f"| trained on {title} | {found['psnr']:.2f} | {found['ssim']:.3f} |", flush=True)


def cut(picture: Picture, side: int) -> Picture:
    """Squares of a picture, a quarter of a side apart: [square, side, side]."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (side, side))[:: side // 4, :: side // 4]
    return np.ascontiguousarray(windows.reshape(-1, side, side))


def report(title: str, pictures: Pictures, clean: Pictures) -> None:
    found = float(psnr(clean, pictures, 1.0)[0]), float(ssim(clean, pictures, 1.0)[0])
    print(f"| {title} | {found[0]:.2f} | {found[1]:.3f} |", flush=True)


def saescope(*arguments: object) -> str:
    command = [sys.executable, "-m", "saescope.cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
