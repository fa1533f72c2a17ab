"""Codes by the k directions that x has most of, with the coefficients of least squares.

    S = the k largest |x . d_j|        f_S = argmin ||x - sum_S f_j d_j||^2

That is what is best by one look at each direction (the thresholding algorithm, Elad 2010, chapter 3). Where there are
no more directions than dimensions they are orthonormal, and f_j = x . d_j.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, IndependentDictionaryConfig
from saescope.autoencoders.largest_entries import largest

BLOCK_VALUES = 2**22
"""Values of the directions of some rows, at a time (32 MB)."""


@dataclass(frozen=True)
class RandomConfig(IndependentDictionaryConfig):
    """`k` directions."""

    architecture: ClassVar[str] = "random"


class RandomDictionary(CodedDictionary):
    """Codes are signed. Of equal ones those of the lowest index are taken."""

    config: RandomConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        along = x @ atoms.T
        indices = largest(along.abs(), self.config.k).indices
        values = along.gather(1, indices)
        if self.n_features > self.d_in:
            step = max(1, BLOCK_VALUES // (self.config.k * self.d_in))
            parts = list(zip(indices.split(step), values.split(step), strict=True))
            values = torch.cat([_solved(atoms[some], own) for some, own in parts]) if parts else values
        return torch.zeros_like(along).scatter_(1, indices, values)


def _solved(directions: Float[Tensor, "batch k d_in"], along: Float[Tensor, "batch k"]) -> Float[Tensor, "batch k"]:
    """Coefficients of least squares, from the products of x with the directions."""
    return torch.linalg.solve(directions @ directions.mT, along.unsqueeze(2)).squeeze(2)
