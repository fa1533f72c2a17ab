"""What a dictionary without an encoder is: atoms and an offset, and codes that are worked out for each input.

    f = the architecture's own function of x - b_dec and the atoms
    x_hat = f W_dec + b_dec

Where a library works codes out, it does so on the CPU and in float64, whatever the device of x. Nothing is
differentiated: such dictionaries are fitted (see `saescope.baselines`), not trained.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saescope.autoencoders.folding import AffineSpace
from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.autoencoders.topk.module import check_k
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class DictionaryConfig(AutoencoderConfig):
    """Fields of every dictionary without an encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transcoder or self.apply_b_dec_to_input or self.noise_input:
            raise OptionError(
                f"{self.architecture} codes an input by the atoms that rebuild it, b_dec taken off",
                "leave transcoder, apply_b_dec_to_input and noise_input out",
            )


@dataclass(frozen=True)
class BoundedDictionaryConfig(DictionaryConfig):
    """With a bound on the atoms of one position."""

    k: int = field(kw_only=True)
    """Atoms per position, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k, self.n_features)


@dataclass(frozen=True)
class IndependentDictionaryConfig(BoundedDictionaryConfig):
    """The atoms of one position must be linearly independent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k > self.d_in:
            raise OptionError(
                f"k is {self.k}, but no more than {self.d_in} atoms of {self.d_in} dimensions are independent",
                "choose a smaller k",
            )


class CodedDictionary(Autoencoder):
    """Holds `W_dec` [n_features, d_in] and `b_dec` [d_in]. A new module is all zeros."""

    config: DictionaryConfig

    def __init__(self, config: DictionaryConfig) -> None:
        super().__init__()
        self.config = config
        self.W_dec = nn.Parameter(torch.zeros(config.n_features, config.d_out))
        self.b_dec = nn.Parameter(torch.zeros(config.d_out))

    @abstractmethod
    def code(
        self, x: Float[Tensor, "batch d_in"], atoms: Float[Tensor, "n_features d_in"]
    ) -> Float[Tensor, "batch n_features"]:
        """Codes of `x`, b_dec taken off, with these atoms, all in float64."""

    def tensors(self) -> dict[str, Tensor]:
        return {"W_dec": self.W_dec, "b_dec": self.b_dec}

    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """A dictionary is fitted in the space of its inputs: nothing else keeps its codes."""
        assert inputs.is_raw
        assert targets.is_raw
        return {name: t.detach().cpu() for name, t in self.tensors().items()}

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        atoms = self.W_dec.detach().double()
        return self.code(x.double() - self.b_dec.detach().double(), atoms).to(x)

    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        return torch.addmm(self.b_dec, codes, self.W_dec)

    @property
    def has_linear_decoder(self) -> bool:
        return True

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        return self.W_dec.detach()

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"]:
        return self.b_dec.detach()
