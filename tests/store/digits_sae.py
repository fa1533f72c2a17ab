"""Real data and a real linear SAE without torch: scikit-learn's digits, k-means, a ridge regression."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """`x` [item * position, d_in] in [0, 1], by item then position; `grid` of positions per item."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    x: Floats
    patch: int | None
    stride: int | None
    grid: tuple[int, int]

    @property
    def n_positions_per_item(self) -> int:
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Model:
    """A linear SAE: codes = select(x W_enc + b_enc), x_hat = codes W_dec + b_dec."""

    architecture: str
    k: int | None
    w_enc: Floats
    b_enc: Floats
    w_dec: Floats
    b_dec: Floats

    def codes(self, x: Floats) -> Floats:
        z = np.maximum(x @ self.w_enc + self.b_enc, 0).astype(np.float32)
        if self.k is not None:
            weakest = np.argpartition(-z, self.k, axis=1)[:, self.k :]
            np.put_along_axis(z, weakest, 0, axis=1)
        return z


def digits(patch: int | None = None, stride: int | None = None) -> Data:
    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = (bunch.images / 16).astype(np.float32)
    if patch is None or stride is None:
        return Data(images, bunch.target.astype(np.int64), pixels.reshape(len(pixels), -1), None, None, (1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (patch, patch), axis=(1, 2))[:, ::stride, ::stride]
    grid = (windows.shape[1], windows.shape[2])
    x = np.ascontiguousarray(windows.reshape(-1, patch * patch))
    return Data(images, bunch.target.astype(np.int64), x, patch, stride, grid)


def learn_dictionary(x: Floats, n_features: int, seed: int, n_steps: int = 8) -> tuple[Floats, pa.Table]:
    """Unit-norm centroids of centred `x` [n_features, d_in] and the curve of their inertia."""
    rng = np.random.default_rng(seed)
    centred = x - x.mean(axis=0)
    pairs = rng.integers(0, len(x), (n_features, 2))
    centroids = centred[pairs[:, 0]] - (centred[pairs[:, 1]] if n_features > len(x) // 2 else 0)
    curve = []
    for step in range(n_steps if n_features <= len(x) // 2 else 1):
        distance = (centroids**2).sum(axis=1) - 2 * centred @ centroids.T
        nearest = distance.argmin(axis=1)
        inertia = distance.min(axis=1).mean() + (centred**2).sum(axis=1).mean()
        curve.append((step, (step + 1) * len(x), float(inertia)))
        if n_features <= len(x) // 2:
            for j in np.unique(nearest):
                centroids[j] = centred[nearest == j].mean(axis=0)
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    steps, seen, losses = zip(*curve, strict=True)
    table = pa.table({"step": list(steps), "n_examples": list(seen), "inertia": list(losses)})
    return (centroids / np.maximum(norms, 1e-6)).astype(np.float32), table


def fit(x: Floats, dictionary: Floats, architecture: str, k: int | None, bias: float = 0.0) -> Model:
    mean = x.mean(axis=0)
    w_enc = np.ascontiguousarray(dictionary.T)
    b_enc = (-mean @ w_enc - bias).astype(np.float32)
    blank = Model(architecture, k, w_enc, b_enc, np.zeros_like(dictionary), mean)
    codes = blank.codes(x)
    if len(dictionary) > 2_000:
        rebuilt = codes @ dictionary
        w_dec = dictionary * np.float32(((x - mean) * rebuilt).sum() / (rebuilt**2).sum())
    else:
        gram = codes.T.astype(np.float64) @ codes + 1e-2 * np.eye(len(dictionary))
        w_dec = np.linalg.solve(gram, codes.T.astype(np.float64) @ (x - mean)).astype(np.float32)
    return Model(architecture, k, w_enc, b_enc, np.ascontiguousarray(w_dec), mean)


def write_checkpoint(model: Model, folder: Path) -> None:
    config = {
        "format": "saescope-sae",
        "architecture": model.architecture,
        "d_in": len(model.w_enc),
        "d_out": model.w_dec.shape[1],
        "n_features": len(model.w_dec),
        "apply_b_dec_to_input": False,
        "firing_threshold": 0.0,
        **({} if model.k is None else {"k": model.k}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config, indent=2))
    tensors = {"W_enc": model.w_enc, "W_dec": model.w_dec, "b_enc": model.b_enc, "b_dec": model.b_dec}
    save_file(tensors, folder / "sae.safetensors")
