"""What a module needs to know of a space of training that is folded into its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class AffineSpace(Protocol):
    """A space t = (x - mean) A that an SAE was trained in, x being raw activations (see `training.input_transform`)."""

    @property
    def is_raw(self) -> bool:
        """Whether t = x."""
        ...

    def fold_encoder(
        self, W_enc: Float[Tensor, "d_in width"], subtracts_b_dec: bool
    ) -> tuple[Float[Tensor, "d_in width"], Float[Tensor, " width"]]:
        """Weights for raw activations (float32), and what the biases after them must gain for the same sums (float64).

        `subtracts_b_dec` says that a b_dec of this space is subtracted first, which takes the mean along.
        """
        ...

    def fold_decoder(
        self, W_dec: Float[Tensor, "width d_out"], b_dec: Float[Tensor, " d_out"]
    ) -> tuple[Float[Tensor, "width d_out"], Float[Tensor, " d_out"]]:
        """Weights that give raw activations where these give points of the space."""
        ...


@dataclass(frozen=True, eq=False)
class WithNoiseLevel:
    """A space of inputs with the noise level behind them, which stays in the data's units."""

    inputs: AffineSpace

    @property
    def is_raw(self) -> bool:
        return self.inputs.is_raw

    def fold_encoder(
        self, W_enc: Float[Tensor, "input_width width"], subtracts_b_dec: bool
    ) -> tuple[Float[Tensor, "input_width width"], Float[Tensor, " width"]]:
        folded, shift = self.inputs.fold_encoder(W_enc[:-1], subtracts_b_dec)
        return torch.cat([folded, W_enc[-1:]]), shift

    def fold_decoder(
        self, W_dec: Float[Tensor, "width d_out"], b_dec: Float[Tensor, " d_out"]
    ) -> tuple[Float[Tensor, "width d_out"], Float[Tensor, " d_out"]]:
        return self.inputs.fold_decoder(W_dec, b_dec)
