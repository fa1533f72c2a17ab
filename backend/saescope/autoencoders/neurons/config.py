"""The model's own neurons, the coordinates of x, as features: an AbsTopK code in the basis that activations come in.

f_j = x_j - m_j where its magnitude is among the k largest, else 0        x_hat_j = m_j + f_j
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from saescope.autoencoders.abstopk.module import AbstopkConfig
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class NeuronsConfig(AbstopkConfig):
    """There are as many features as dimensions."""

    architecture: ClassVar[str] = "neurons"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_features != self.d_in:
            raise OptionError(f"n_features is {self.n_features}, but the input has {self.d_in} coordinates")
