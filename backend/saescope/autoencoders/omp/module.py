"""Codes by orthogonal matching pursuit (Pati et al. 1993): atoms are taken one by one, each the one most correlated
with what is left, and after each the coefficients of all that were taken are those of least squares."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.decomposition import sparse_encode
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, IndependentDictionaryConfig


@dataclass(frozen=True)
class OmpConfig(IndependentDictionaryConfig):
    """`k` atoms at most."""

    architecture: ClassVar[str] = "omp"


class OmpDictionary(CodedDictionary):
    """Codes are signed: those of `sklearn.decomposition.SparseCoder`."""

    config: OmpConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        rows, directions = x.cpu().numpy(), atoms.cpu().numpy()
        with warnings.catch_warnings():  # where fewer atoms rebuild a row already, or depend on each other
            warnings.simplefilter("ignore")
            codes = sparse_encode(rows, directions, algorithm="omp", n_nonzero_coefs=self.config.k)
        return torch.from_numpy(codes)
