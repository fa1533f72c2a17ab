"""Codes by non-negative least squares: f = argmin ||x - f W_dec||^2 over f >= 0, as NMF codes with its atoms fixed.

With W_dec^T = Q R, ||x - f W_dec||^2 is ||Q^T x - R f||^2 and a constant, which is the smaller problem that
`scipy.optimize.nnls` solves for each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import nnls
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, DictionaryConfig

STEPS = 30
"""Most steps of the active set per atom; three usually do."""


@dataclass(frozen=True)
class NmfConfig(DictionaryConfig):
    """Nothing bounds the code but that it has no negative values."""

    architecture: ClassVar[str] = "nmf"


class NmfDictionary(CodedDictionary):
    """b_dec is 0 where NMF was fitted."""

    config: NmfConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        q, r = np.linalg.qr(atoms.T.cpu().numpy())
        rows = x.cpu().numpy() @ q
        codes = np.empty((len(rows), self.n_features))
        for row, code in zip(rows, codes, strict=True):
            code[:] = nnls(r, row, maxiter=STEPS * self.n_features)[0]
        return torch.from_numpy(codes)
