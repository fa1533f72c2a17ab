"""Gated codes (Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders").

    u = (x - b_dec) W_enc                                              (b_dec only where the config says so)
    f_j = max(exp(r_mag_j) u_j + b_mag_j, 0) where u_j + b_gate_j > 0, else 0

One matrix serves both: the gate decides which features fire, the magnitude how strongly. A feature that its gate lets
through with a magnitude of 0 or less does not fire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class GatedConfig(LinearConfig):
    """A gated SAE has no fields of its own: what it adds are tensors."""

    architecture: ClassVar[str] = "gated"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rescale_by_decoder_norm:
            raise OptionError("a gate does not see the norm of its atom", "fold the norms into the weights")


class GatedAutoencoder(LinearAutoencoder):
    """Has `b_gate`, `r_mag` and `b_mag`, all [n_features], and no tensor named b_enc.

    What the other architectures call b_enc is the gate's bias here: `pre_activations` are the gate's.
    """

    config: GatedConfig
    r_mag: Float[Tensor, " n_features"]
    b_mag: Float[Tensor, " n_features"]

    def __init__(self, config: GatedConfig) -> None:
        super().__init__(config)
        self.r_mag = nn.Parameter(torch.zeros(config.n_features))
        self.b_mag = nn.Parameter(torch.zeros(config.n_features))

    @property
    def b_gate(self) -> Float[Tensor, " n_features"]:
        return self.b_enc

    def tensors(self) -> dict[str, Tensor]:
        shared = super().tensors()
        return {"b_gate" if name == "b_enc" else name: tensor for name, tensor in shared.items()} | {
            "r_mag": self.r_mag,
            "b_mag": self.b_mag,
        }

    def biases_after_shift(
        self, tensors: dict[str, Tensor], shift: Float[Tensor, " n_features"]
    ) -> dict[str, Float[Tensor, " n_features"]]:
        return {
            "b_gate": tensors["b_gate"] + shift,
            "b_mag": tensors["b_mag"] + torch.exp(tensors["r_mag"].double()) * shift,
        }

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        u = functional.linear(self.centred(x), self.encoder_rows)
        return torch.where(u + self.b_gate > 0, torch.relu(u * torch.exp(self.r_mag) + self.b_mag), 0.0)
