"""Small checkpoints of formats whose own libraries are not at hand, written to what is known of them, and the plain
formulas that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

D_IN, N_FEATURES = 5, 9


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, the same for the same shape and seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 100 * sum(shape)))


def inputs() -> Tensor:
    """Activations whose mean and norms are out of the ordinary."""
    return draw(20, D_IN, seed=7) * 2 + draw(D_IN, seed=8)


class Matrices:
    """W_enc [d_in, n_features], W_dec [n_features, d_in], b_enc, b_dec."""

    def __init__(self, d_in: int = D_IN, n_features: int = N_FEATURES) -> None:
        self.W_enc, self.W_dec = draw(d_in, n_features, seed=1), draw(n_features, d_in, seed=2)
        self.b_enc, self.b_dec = draw(n_features, seed=3), draw(d_in, seed=4)

    def linears(self, encoder: str, decoder: str) -> dict[str, Tensor]:
        """As the weights of two torch Linear layers."""
        return {
            f"{encoder}.weight": self.W_enc.T.contiguous(),
            f"{encoder}.bias": self.b_enc,
            f"{decoder}.weight": self.W_dec.T.contiguous(),
            f"{decoder}.bias": self.b_dec,
        }

    def bare(self) -> dict[str, Tensor]:
        return {"W_enc": self.W_enc, "W_dec": self.W_dec, "b_enc": self.b_enc, "b_dec": self.b_dec}


def save_torch(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)
    return folder / name


def save_json(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder / name


def top(z: Tensor, k: int) -> Tensor:
    """ReLU of the k largest of each row."""
    kept = torch.zeros_like(z)
    values, indices = z.topk(k, dim=1)
    return kept.scatter(1, indices, values.relu())


def layer_normed(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each row by its own mean and deviation (n - 1); these two."""
    mean, deviation = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    return (x - mean) / (deviation + 1e-5), mean, deviation
