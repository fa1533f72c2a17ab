"""The one protocol of every sparse autoencoder.

Shape symbols: `batch` positions, `d_in` width of the input, `input_width` the same and one more where the noise level
is an input too, `d_out` width of the output (= d_in unless a transcoder), `n_features` width of the code, `k` most
features that may fire at one position.

An architecture is a frozen config that derives from `AutoencoderConfig` and a module that derives from `Autoencoder`;
to be trained it has settings and an objective too. A record of all four makes it known (see `registry`): nothing else
has to change to add one.

`decode` sees codes alone. Where a reconstruction needs the input as well (per-input normalisation, skip terms),
`restore` adds what is missing; `reconstruct` does both, and is what reconstructions are judged by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from saescope.autoencoders.folding import AffineSpace
from saescope.store.errors import OptionError


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
    d_out: int = 0
    """Width of the output. 0 on construction stands for d_in; afterwards it is the true width."""
    transcoder: bool = False
    """Whether the output stands for other activations (the target) than the input. Always so where d_out != d_in."""
    noise_input: bool = False
    """Whether the encoder takes the level of the noise in its input as one more input, behind the others."""

    architecture: ClassVar[str] = ""
    has_sparse_code: ClassVar[bool] = True
    """Whether something keeps most of a code at 0: where nothing does, a high L0 is no fault."""

    def __post_init__(self) -> None:
        if self.d_in < 1:
            raise OptionError(f"d_in is {self.d_in}; an input needs at least 1 dimension")
        if self.n_features < 1:
            raise OptionError(f"n_features is {self.n_features}; an SAE needs at least 1 feature")
        if self.d_out < 0:
            raise OptionError(f"d_out is {self.d_out}; an output needs at least 1 dimension")
        object.__setattr__(self, "d_out", self.d_out or self.d_in)
        object.__setattr__(self, "transcoder", self.transcoder or self.d_out != self.d_in)
        if self.transcoder and self.apply_b_dec_to_input:
            raise OptionError(
                "a transcoder's b_dec belongs to its target, so it cannot be subtracted from the input",
                "set apply_b_dec_to_input to false; an offset of the input goes into b_enc",
            )
        if self.noise_input and self.apply_b_dec_to_input:
            raise OptionError(
                "with a noise input the encoder sees more than b_dec could be subtracted from",
                "set apply_b_dec_to_input to false",
            )

    @property
    def input_width(self) -> int:
        """Values that the encoder takes: d_in, and the noise level where there is a noise input."""
        return self.d_in + self.noise_input

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, `architecture` included. Without a noise input nothing is said of it."""
        values = {"architecture": self.architecture, **asdict(self)}
        if not self.noise_input:
            del values["noise_input"]
        return values

    def exported(self) -> AutoencoderConfig:
        """The config of the same SAE once its space of training is folded into its weights."""
        return self


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
    noise_level: float = 0.0
    """With a noise input: the level that is assumed of inputs that come without one, in the data's units."""

    def with_noise_level(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch input_width"]:
        """What the encoder takes: `x`, with `noise_level` behind where there is a noise input and `x` lacks it."""
        if not self.config.noise_input or x.shape[1] == self.config.input_width:
            return x
        return torch.cat([x, x.new_full((len(x), 1), self.noise_level)], dim=1)

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
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the native checkpoint, by name: views of the module's own, all that it needs."""

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copies the tensors of `tensors()` in. Shapes must fit."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])

    @abstractmethod
    def folded_tensors(self, inputs: AffineSpace, targets: AffineSpace) -> dict[str, Tensor]:
        """`tensors()` of the same SAE for raw activations: it takes points of `inputs` and gives points of `targets`
        now. On the CPU. Codes stay equal. Where weights are tied, the two matrices come out untied."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        """Codes, dense."""

    @abstractmethod
    def decode(self, codes: Float[Tensor, "batch n_features"]) -> Float[Tensor, "batch d_out"]:
        """What the codes alone say: the reconstruction, except with per-input normalisation (then in that space) or
        skip terms (then without them)."""

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection | None:
        """The same codes as `encode` as at most k per position, or None where the architecture has no such bound."""
        return None

    def decode_selection(self, selection: Selection) -> Float[Tensor, "batch d_out"]:
        """`decode` of a selection."""
        codes = selection.values.new_zeros(len(selection.values), self.n_features)
        return self.decode(codes.scatter_add_(1, selection.indices, selection.values))

    @property
    def needs_input(self) -> bool:
        """Whether a reconstruction takes the input beside the codes, so that `restore` changes what `decode` gave."""
        return False

    def restore(
        self, x: Float[Tensor, "batch d_in"], decoded: Float[Tensor, "batch d_out"]
    ) -> Float[Tensor, "batch d_out"]:
        """The reconstruction in the space of the (target) activations, from what `decode` gave."""
        return decoded

    def reconstruct(
        self, x: Float[Tensor, "batch d_in"], codes: Float[Tensor, "batch n_features"]
    ) -> Float[Tensor, "batch d_out"]:
        """The reconstruction that `codes` give at the inputs `x`, in the space of the (target) activations."""
        return self.restore(x, self.decode(codes))

    def reconstruct_selection(
        self, x: Float[Tensor, "batch d_in"], selection: Selection
    ) -> Float[Tensor, "batch d_out"]:
        """`reconstruct` of a selection."""
        return self.restore(x, self.decode_selection(selection))

    def forward(self, x: Float[Tensor, "batch d_in"]) -> Output:
        codes = self.encode(x)
        return Output(codes, self.reconstruct(x, codes))

    @property
    def has_linear_decoder(self) -> bool:
        """Whether each feature adds its activation times one direction, its atom."""
        return False

    @property
    def atoms(self) -> Float[Tensor, "n_features d_out"]:
        """Decoder directions: what a code of 1 adds to `decode`. `OptionError` where the decoder is not linear."""
        raise OptionError(f"architecture {self.config.architecture!r} has no linear decoder, so it has no atoms")

    @property
    def decoder_bias(self) -> Float[Tensor, " d_out"] | None:
        """What a zero code decodes to, for linear decoders."""
        return None

    @property
    def encoder_bias(self) -> Float[Tensor, " n_features"] | None:
        """Bias of each feature's pre-activation, if it has one."""
        return None
