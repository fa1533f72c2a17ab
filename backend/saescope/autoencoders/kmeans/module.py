"""Codes by the nearest centres: locality-constrained linear coding (Wang et al. 2010).

    f = argmin ||x - sum_j f_j c_j||^2 over the k nearest centres c_j, sum_j f_j = 1

With k = 1 that is vector quantisation: 1 at the nearest centre. With C_ij = (c_i - x) . (c_j - x), f is C^-1 1 over its
sum; their code adds a ten thousandth of C's trace to its diagonal, and so do we.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.coded_dictionary import BoundedDictionaryConfig, CodedDictionary
from saescope.autoencoders.largest_entries import largest

RIDGE = 1e-4
BLOCK_VALUES = 2**22
"""Values of the centres around some rows, at a time (32 MB)."""


@dataclass(frozen=True)
class KmeansConfig(BoundedDictionaryConfig):
    """`k` nearest centres."""

    architecture: ClassVar[str] = "kmeans"


class KmeansDictionary(CodedDictionary):
    """Codes sum to 1; b_dec is 0. Of centres equally near those of the lowest index are taken."""

    config: KmeansConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        k = self.config.k
        nearness = 2 * x @ atoms.T - atoms.square().sum(1)  # ||x||^2 less the squared distance
        indices = largest(nearness, k, signed=True).indices
        codes = torch.zeros_like(nearness)
        if k == 1:
            return codes.scatter_(1, indices, 1.0)
        step = max(1, BLOCK_VALUES // (k * self.d_in))
        weights = [_weights(x[i : i + step], atoms[indices[i : i + step]]) for i in range(0, len(x), step)]
        return codes.scatter_(1, indices, torch.cat(weights)) if weights else codes


def _weights(x: Float[Tensor, "batch d_in"], centres: Float[Tensor, "batch k d_in"]) -> Float[Tensor, "batch k"]:
    offsets = centres - x.unsqueeze(1)
    products = offsets @ offsets.mT
    trace = products.diagonal(dim1=1, dim2=2).sum(1)
    ridge = torch.where(trace > 0, RIDGE * trace, 1.0)  # all centres at x: any weights do
    products.diagonal(dim1=1, dim2=2).add_(ridge.unsqueeze(1))
    weights = torch.linalg.solve(products, torch.ones_like(products[:, :, :1])).squeeze(2)
    return weights / weights.sum(1, keepdim=True)
