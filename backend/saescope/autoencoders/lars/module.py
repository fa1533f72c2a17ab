"""Codes by least angle regression (Efron et al. 2004) with its lasso modification, stopped after k steps.

That is the path of the L1 penalty, from strong to weak. A step adds an atom, or drops one whose coefficient returned to
0, and coefficients are smaller than those of least squares. Without the modification, which scikit-learn's
`SparseCoder` leaves out, its steps go astray where atoms depend on each other, as those of a large dictionary do.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.linear_model import LassoLars
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, IndependentDictionaryConfig


@dataclass(frozen=True)
class LarsConfig(IndependentDictionaryConfig):
    """`k` atoms at most."""

    architecture: ClassVar[str] = "lars"


class LarsDictionary(CodedDictionary):
    """Codes are signed: those of `sklearn.linear_model.LassoLars`."""

    config: LarsConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        rows, directions = x.cpu().numpy(), atoms.cpu().numpy()
        method = LassoLars(
            alpha=0.0,
            fit_intercept=False,
            precompute=directions @ directions.T,
            max_iter=self.config.k,
            fit_path=False,
        )
        with warnings.catch_warnings():  # that the path ends before the penalty is 0, as it is meant to
            warnings.simplefilter("ignore")
            method.fit(directions.T, rows.T, Xy=directions @ rows.T)
        return torch.from_numpy(method.coef_.reshape(len(rows), -1))
