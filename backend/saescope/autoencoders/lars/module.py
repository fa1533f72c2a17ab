"""Codes by least angle regression (Efron et al. 2004), stopped after k steps.

That is the path of the L1 penalty, from strong to weak, as long as no coefficient returns to 0. Coefficients are
smaller than those of least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, IndependentDictionaryConfig
from saescope.autoencoders.pursuit import pursued


@dataclass(frozen=True)
class LarsConfig(IndependentDictionaryConfig):
    """`k` atoms at most."""

    architecture: ClassVar[str] = "lars"


class LarsDictionary(CodedDictionary):
    """Codes are signed."""

    config: LarsConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        return pursued(x, atoms, "lars", self.config.k)
