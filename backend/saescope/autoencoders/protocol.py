"""The one protocol of every sparse autoencoder.

Shape symbols: `batch` positions, `d_in` width of the input, `d_out` width of the output (= d_in unless a transcoder),
`n_features` width of the code, `k` most features that may fire at one position.

An architecture is one file of this package: a frozen config that derives from `AutoencoderConfig` and a module that
derives from `Autoencoder`, registered under its name (see `registry`). Nothing else has to change to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, nn

from saescope.store.errors import UserError


@dataclass(frozen=True)
class AutoencoderConfig:
    """What every architecture has. Subclasses add their own fields and refuse bad combinations."""

    d_in: int
    """Width of the input."""
    n_features: int
    """Width of the code."""
    apply_b_dec_to_input: bool = False
    """Whether `b_dec` is subtracted from the input before encoding."""
    firing_threshold: float = 0.0
    """A feature fires where |activation| exceeds this. Reconstruction does not use it."""

    architecture: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.d_in < 1:
            raise UserError(f"d_in is {self.d_in}; an input needs at least 1 dimension")
        if self.n_features < 1:
            raise UserError(f"n_features is {self.n_features}; an SAE needs at least 1 feature")

    @property
    def d_out(self) -> int:
        return self.d_in

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, `architecture` and `d_out` included."""
        return {"architecture": self.architecture, "d_out": self.d_out, **asdict(self)}


class Output(NamedTuple):
    """What `sae(x)` returns."""

    codes: Float[Tensor, "batch n_features"]
    reconstruction: Float[Tensor, "batch d_out"]


class Selection(NamedTuple):
    """Codes of an architecture that picks at most `k` features per position.

    Unused places hold value 0 (their index is arbitrary but valid). A feature occurs at most once per row.
    """

    indices: Int64[Tensor, "batch k"]
    values: Float[Tensor, "batch k"]


class Autoencoder(nn.Module, ABC):
    """Takes raw activations (whatever was centred, scaled or whitened in training is folded into the weights)."""

    config: AutoencoderConfig

    @property
    def d_in(self) -> int:
        return self.config.d_in

    @property
    def d_out(self) -> int:
        return self.config.d_out

    @property
    def n_features(self) -> int:
        return self.config.n_features

    @abstractmethod
    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        """Codes, dense."""

    @abstractmethod
    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        """Reconstruction in the space of the (target) activations."""

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection | None:
        """The same codes as `encode` as at most k per position, or None where the architecture has no such bound."""
        return None

    def forward(self, x: Float[Tensor, "batch d_in"]) -> Output:
        codes = self.encode(x)
        return Output(codes, self.decode(codes))

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        """Decoder directions. Raises `UserError` where the decoder is not linear."""
        raise UserError(f"architecture {self.config.architecture!r} has no linear decoder, so it has no atoms")

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"] | None:
        """What a zero code decodes to, for linear decoders."""
        return None

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"] | None:
        """Bias of each feature's pre-activation, if it has one."""
        return None
