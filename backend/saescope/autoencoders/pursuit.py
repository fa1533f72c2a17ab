"""Codes of given atoms by scikit-learn's sparse coders, row by row."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from jaxtyping import Float
from sklearn.decomposition import sparse_encode
from torch import Tensor


def pursued(
    x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"], algorithm: Literal["omp", "lars"], k: int
) -> Float[Tensor, "batch n_features"]:
    """What `sklearn.decomposition.SparseCoder` gives with so many non-zero coefficients.

    It warns where fewer of them rebuild a row already, and where atoms depend on each other: codes are sparser then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = sparse_encode(x.cpu().numpy(), atoms.cpu().numpy(), algorithm=algorithm, n_nonzero_coefs=k)
    return torch.from_numpy(codes)
