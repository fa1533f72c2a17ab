"""What sparsity does to atoms: ReLU SAEs of handwritten digits under one L1 weight after another.

    python benchmarks/sparsity_atoms.py --images MNIST_FOLDER [--store sparsity-atoms] [--features 512] [--steps N]
        [--l1 0.1 0.3 1 3 10] [--seed 0] [--picture ATOMS.png]

Runs `saescope sweep` (an entry that the store holds already is not trained again), then prints for each L1 weight, over
the test images, L0 and FVU, and over all live atoms the medians of three measures of one atom a, a picture:

    pixels      (sum a^2)^2 / sum a^4: over how many pixels its energy is spread (participation ratio)
    one piece   of its energy, the fraction in the largest connected piece (8 neighbours, one sign) where |a| is at
                least 0.3 of its greatest
    elongation  sqrt(v1 / v2), v the variances of that piece's energy along its main axes, a twelfth of a pixel added:
                1 of a blob, large of a line

and the share of strokes: atoms of at most 80 pixels, a tenth of the image, with half of their energy or more in one
piece of elongation 1.5 or more. PCA's components stand beside them. The picture has ten random live atoms of each, one
row per SAE. Reconstruction counts as suffering from the first weight on at which a tenth of the variance is lost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from saescope.sources import SourceOptions, open_source
from saescope.sources.moments import measure_moments
from saescope.store import Entry, FeatureStore

PIECE = 0.3
"""Of an atom's greatest magnitude: from here on a pixel belongs to a piece."""
MOST_PIXELS, LEAST_ENERGY, LEAST_ELONGATION = 80, 0.5, 1.5
"""What a stroke has."""
SUFFERS = 0.1
"""FVU."""
DRAWN, SCALE, GAP = 10, 3, 2
Atoms = npt.NDArray[np.float64]
"""[atom, height, width]"""


@dataclass(frozen=True)
class Shape:
    """Measures of one atom (see the module)."""

    pixels: float
    one_piece: float
    elongation: float

    @property
    def is_stroke(self) -> bool:
        compact = self.pixels <= MOST_PIXELS and self.one_piece >= LEAST_ENERGY
        return compact and self.elongation >= LEAST_ELONGATION


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="a MNIST-style folder, or embedded:digits")
    parser.add_argument("--store", type=Path, default=Path("sparsity-atoms"))
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--steps", type=int, help="of each training; by the size of the data if left out")
    parser.add_argument("--l1", type=float, nargs="+", default=[0.1, 0.3, 1, 3, 10])
    parser.add_argument("--seed", type=int, default=0, help="of training, and of which atoms are drawn")
    parser.add_argument("--picture", type=Path, help="where the picture of random atoms goes")
    given = parser.parse_args()
    command = [sys.executable, "-m", "saescope.cli", "sweep", "--images", given.images, "--arch", "relu"]
    command += ["--n-features", str(given.features), "--values", ",".join(f"{v:g}" for v in sorted(given.l1))]
    command += ["--seed", str(given.seed), "--store", str(given.store), "--name", "sparsity"]
    subprocess.run(command + (["--steps", str(given.steps)] if given.steps else []), check=True, stdout=sys.stderr)
    rows = []
    print("| L1 weight | L0 | FVU | dead | pixels | one piece | elongation | strokes |")
    print("|---|---|---|---|---|---|---|---|")
    components = principal_components(given.images, given.features)
    rows.append(components)
    print(f"| PCA | {len(components)} | | | {cells(components)} |")
    with FeatureStore(given.store) as store:
        entries = sorted(
            (store[sae_id] for sae_id in store.ids() if sae_id.startswith("sparsity-relu-l1-")),
            key=lambda entry: float((entry.manifest.sweep or {})["value"]),
        )
        suffering = None
        for entry in entries:
            atoms, value = live_atoms(entry), float((entry.manifest.sweep or {})["value"])
            fvu, l0 = entry.metrics["fvu"] or 0.0, entry.metrics["l0"]
            suffering = value if suffering is None and fvu > SUFFERS else suffering
            dead = (entry.metrics["n_dead"] or 0) / entry.n_features
            print(f"| {value:g} | {l0:.1f} | {fvu:.4f} | {dead:.1%} | {cells(atoms)} |", flush=True)
            rows.append(atoms)
    if suffering is None:
        print(f"no FVU is above {SUFFERS:g}")
    else:
        print(f"from l1 = {suffering:g} on the FVU is above {SUFFERS:g}")
    if given.picture:
        drawn = np.random.default_rng(given.seed)
        Image.fromarray(sheet([row[drawn.permutation(len(row))[:DRAWN]] for row in rows])).save(given.picture)
    return 0


def cells(atoms: Atoms) -> str:
    shapes = [shape_of(atom) for atom in atoms]
    medians = [float(np.median([getattr(s, name) for s in shapes])) for name in ("pixels", "one_piece", "elongation")]
    strokes = sum(s.is_stroke for s in shapes) / len(shapes)
    return f"{medians[0]:.0f} | {medians[1]:.0%} | {medians[2]:.2f} | {strokes:.0%}"


def live_atoms(entry: Entry) -> Atoms:
    height, width, _ = entry.manifest.source["input_shape"]
    live = np.flatnonzero(np.asarray(entry.table("features", ["n_firing"])["n_firing"]) > 0)
    return entry.atoms(live).reshape(len(live), height, width).astype(np.float64)


def principal_components(images: str, most: int) -> Atoms:
    source = open_source(SourceOptions(images=images), "train")
    height, width, _ = source.describe()["input_shape"]
    values, vectors = np.linalg.eigh(measure_moments(source.table()).covariance)
    kept = int(np.count_nonzero(values > 1e-9 * values[-1]))  # pixels that never change have no component
    return vectors[:, ::-1][:, : min(most, kept)].T.reshape(-1, height, width)


def shape_of(atom: npt.NDArray[np.float64]) -> Shape:
    """Measures of an atom [height, width]."""
    energy = np.square(atom)
    total = float(energy.sum())
    strong = np.abs(atom) >= PIECE * np.abs(atom).max()
    best, piece = 0.0, np.zeros_like(strong)
    for sign in (1, -1):
        numbered, n = ndimage.label(strong & (np.sign(atom) == sign), structure=np.ones((3, 3)))
        held = ndimage.sum_labels(energy, numbered, np.arange(1, n + 1)) if n else np.zeros(0)
        if n and held.max() > best:
            best, piece = float(held.max()), numbered == 1 + int(held.argmax())
    rows, columns = np.nonzero(piece)
    covariance = (
        np.cov(np.stack([rows, columns]), aweights=energy[piece], ddof=0) if len(rows) > 1 else np.zeros((2, 2))
    )
    low, high = np.linalg.eigvalsh(covariance + np.eye(2) / 12)
    return Shape(total**2 / float(np.square(energy).sum()), best / total, float(np.sqrt(high / low)))


def sheet(rows: list[Atoms]) -> npt.NDArray[np.uint8]:
    """Rows of atoms as one picture, red where they are positive and blue where negative, each by its own greatest."""
    height, width = rows[0].shape[1:]
    page = np.full(
        ((height * SCALE + GAP) * len(rows) + GAP, (width * SCALE + GAP) * DRAWN + GAP, 3), 255, dtype=np.uint8
    )
    for i, row in enumerate(rows):
        for j, atom in enumerate(row):
            a = (atom / np.abs(atom).max()).repeat(SCALE, 0).repeat(SCALE, 1)[..., None]
            colour = 255 * (1 - np.abs(a) * (1 - np.where(a > 0, [0.79, 0.0, 0.13], [0.02, 0.44, 0.69])))
            top, left = GAP + i * (height * SCALE + GAP), GAP + j * (width * SCALE + GAP)
            page[top : top + height * SCALE, left : left + width * SCALE] = colour.astype(np.uint8)
    return page


if __name__ == "__main__":
    sys.exit(main())
