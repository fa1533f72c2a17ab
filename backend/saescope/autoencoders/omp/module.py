"""Codes by orthogonal matching pursuit (Pati et al. 1993): atoms are taken one by one, each the one most correlated
with what is left, and after each the coefficients of all that were taken are those of least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.coded_dictionary import CodedDictionary, IndependentDictionaryConfig
from saescope.autoencoders.pursuit import pursued


@dataclass(frozen=True)
class OmpConfig(IndependentDictionaryConfig):
    """`k` atoms at most."""

    architecture: ClassVar[str] = "omp"


class OmpDictionary(CodedDictionary):
    """Codes are signed."""

    config: OmpConfig

    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        return pursued(x, atoms, "omp", self.config.k)
