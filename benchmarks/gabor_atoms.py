"""How many atoms of image patches are oriented edges and gratings: a Gabor function is fitted to each live atom.

    python benchmarks/gabor_atoms.py STORE SAE_ID [SAE_ID ...]
    python benchmarks/gabor_atoms.py --demo [--seeds 3]

The second form trains the demo's SAEs of photographs with several seeds and prints the median share.

The function, in pixels of the patch, after Daugman (1985), equation 1, real and imaginary part taken together:

    g(x, y) = exp(-(u^2 / (2 s_u^2) + v^2 / (2 s_v^2))) (p cos(2 pi f u) + q sin(2 pi f u))
    u = (x - x0) cos t + (y - y0) sin t,    v = -(x - x0) sin t + (y - y0) cos t

For given x0, y0, t, f, s_u, s_v the best p, q and a constant are those of a linear regression (variable projection,
Golub & Pereyra 1973), so six numbers are searched: a grid first, then gradient steps from the best few places of the
grid. An atom of colour patches is fitted along the direction in colour space that holds most of it. Explained is the
regression's R^2, 1 - sum (a - g - c)^2 / sum (a - mean(a))^2, of the atom as the dashboard shows it; an atom counts as
a Gabor function from 0.8 on.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saescope.store import Entry, FeatureStore

EXPLAINED = 0.8
"""From this fraction of its variance on, an atom counts as a Gabor function."""
STARTS, STEPS, RATE = 6, 200, 0.05
AT_ONCE = 64
"""Atoms that are refined together."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("sae_ids", nargs="*")
    parser.add_argument("--demo", action="store_true", help="train the demo's SAEs of photographs anew")
    parser.add_argument("--seeds", type=int, default=3, help="with --demo: how many seeds")
    options = parser.parse_args()
    if options.demo:
        return demo(options.seeds)
    if options.store is None:
        parser.error("name a store, or --demo")
    with FeatureStore(options.store) as store:
        for sae_id in options.sae_ids or store.ids():
            explained = explained_of(store[sae_id])
            if explained is not None:
                print(sae_id, line(explained), flush=True)
    return 0


def demo(n_seeds: int) -> int:
    """The share of Gabor functions in each of the demo's SAEs of photographs: for each seed, and their median."""
    from saescope.workflows.demo import plans
    from saescope.workflows.sweep import sweep

    shares: dict[str, list[float]] = {}
    for plan in plans():
        if plan.name == "digits":
            continue
        for seed in range(n_seeds):
            with tempfile.TemporaryDirectory() as folder:
                seeded = replace(plan, training={**plan.training, "seed": seed})
                for made in sweep(seeded, Path(folder) / "store", device="cpu"):
                    with FeatureStore(Path(folder) / "store") as store:
                        explained = explained_of(store[made.sae_id])
                    assert explained is not None
                    shares.setdefault(made.sae_id, []).append(share(explained))
                    print(made.sae_id, f"seed {seed}", line(explained), flush=True)
    for sae_id, found in shares.items():
        print(f"{sae_id:24} median share of {n_seeds} seeds {statistics.median(found):.0%}")
    return 0


def share(explained: npt.NDArray[np.float64]) -> float:
    return float((explained >= EXPLAINED).mean())


def line(explained: npt.NDArray[np.float64]) -> str:
    return (
        f"{len(explained)} live atoms: {share(explained):.0%} are Gabor functions to {EXPLAINED:.0%} of their variance "
        f"(median explained {np.median(explained):.2f})"
    )


def explained_of(entry: Entry) -> npt.NDArray[np.float64] | None:
    """Of each live atom of an entry of patches, the explained fraction; None for other entries."""
    source = entry.manifest.source
    if source.get("kind") != "patches":
        return None
    side = int(source["patch"])
    live = np.flatnonzero(np.asarray(entry.table("features", ["n_firing"])["n_firing"]) > 0)
    atoms = entry.atoms(live).reshape(len(live), side, side, -1)
    return gabor_explained(grey(atoms))


def grey(atoms: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """[atom, side, side, channel] along each atom's main direction in colour space: [atom, side, side]."""
    flat = atoms.reshape(len(atoms), -1, atoms.shape[-1]).astype(np.float64)
    along = np.linalg.svd(flat - flat.mean(1, keepdims=True), full_matrices=False)[2][:, 0]
    return np.einsum("apc,ac->ap", flat, along).reshape(atoms.shape[:3])


def gabor_explained(atoms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each atom [side, side], the fraction of its variance that the best Gabor function explains."""
    side = atoms.shape[1]
    flat = centred(torch.from_numpy(atoms.reshape(len(atoms), -1)))
    grid = starting_places(side)
    bases = torch.cat([basis(part, side) for part in grid.split(2048)])
    found = []
    for part in flat.split(AT_ONCE):
        captured = torch.einsum("gkp,ap->agk", bases, part).square().sum(2)
        places = grid[captured.topk(STARTS, dim=1).indices]
        found.append(refined(part, places, side))
    return torch.cat(found).numpy()


def starting_places(side: int) -> Tensor:
    """x0, y0, t, log f, log s_u, log s_v on a grid."""
    centres = [side * (i + 0.5) / 6 - 0.5 for i in range(6)]
    angles = [math.pi * i / 8 for i in range(8)]
    frequencies = [0.06, 0.1, 0.16, 0.25, 0.36]
    widths = [side / 12, side / 7, side / 4]
    places = itertools.product(centres, centres, angles, frequencies, widths, widths)
    rows = [(x, y, t, math.log(f), math.log(u), math.log(v)) for x, y, t, f, u, v in places]
    return torch.tensor(rows, dtype=torch.float64)


def basis(places: Tensor, side: int) -> Tensor:
    """An orthonormal pair [..., 2, side * side] that spans the even and the odd Gabor function of each place, both
    less their means."""
    line_ = torch.arange(side, dtype=places.dtype)
    y, x = (axis.flatten() for axis in torch.meshgrid(line_, line_, indexing="ij"))
    x0, y0, t, log_f, log_u, log_v = (value.unsqueeze(-1) for value in places.unbind(-1))
    u = (x - x0) * t.cos() + (y - y0) * t.sin()
    v = (y - y0) * t.cos() - (x - x0) * t.sin()
    envelope = torch.exp(-0.5 * ((u / log_u.exp()).square() + (v / log_v.exp()).square()))
    even = centred(envelope * torch.cos(2 * math.pi * log_f.exp() * u))
    odd = centred(envelope * torch.sin(2 * math.pi * log_f.exp() * u))
    even = even / torch.linalg.vector_norm(even, dim=-1, keepdim=True).clamp(min=1e-9)
    odd = odd - (odd * even).sum(-1, keepdim=True) * even
    odd = odd / torch.linalg.vector_norm(odd, dim=-1, keepdim=True).clamp(min=1e-9)
    return torch.stack([even, odd], dim=-2)


def centred(values: Tensor) -> Tensor:
    """Less their mean over the last axis: what a constant cannot explain."""
    return values - values.mean(-1, keepdim=True)


def refined(atoms: Tensor, places: Tensor, side: int) -> Tensor:
    """The explained fraction [atom] at the best of what gradient steps from `places` [atom, start, 6] lead to."""
    places = places.clone().requires_grad_()
    optimiser = torch.optim.Adam([places], RATE)
    variance = atoms.square().sum(1).clamp(min=1e-30)
    best = torch.full((len(atoms),), -torch.inf, dtype=atoms.dtype)
    for step in range(STEPS + 1):
        captured = torch.einsum("askp,ap->ask", basis(places, side), atoms).square().sum(2)
        explained = captured / variance.unsqueeze(1)
        best = torch.maximum(best, explained.detach().max(1).values)
        if step < STEPS:
            optimiser.zero_grad()
            (-explained.sum()).backward()
            optimiser.step()
            with torch.no_grad():  # no narrower than half a pixel, no wider than the patch, below the Nyquist rate
                places[..., 3].clamp_(math.log(1e-3), math.log(0.5))
                places[..., 4:].clamp_(math.log(0.5), math.log(2 * side))
    return best


if __name__ == "__main__":
    sys.exit(main())
