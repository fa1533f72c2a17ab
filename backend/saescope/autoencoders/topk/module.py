"""TopK codes (Gao et al. 2024): the k largest pre-activations of each position are kept, negative ones set to 0.

With `signed`, those that are kept are kept as they are (as in saev): a code is negative where fewer than k
pre-activations are positive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from saescope.autoencoders.largest_entries import largest
from saescope.autoencoders.linear import LinearAutoencoder, LinearConfig
from saescope.autoencoders.protocol import Selection
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class TopkConfig(LinearConfig):
    """A TopK SAE fires at most `k` features per position."""

    k: int = field(kw_only=True)
    """Features kept per position."""
    signed: bool = False
    """Whether kept pre-activations may be negative."""
    selects_by_contribution: bool = False
    """Whether features compete by z_j ||W_dec_j||, what they would add to x_hat, while codes stay z_j."""

    architecture: ClassVar[str] = "topk"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self.k, self.n_features)
        if self.selects_by_contribution and self.rescale_by_decoder_norm:
            raise OptionError(
                "selects_by_contribution and rescale_by_decoder_norm are both set, and would count the norms twice",
                "the first keeps codes free of the atoms' norms, the second puts them in: choose one",
            )


def check_k(k: int, n_features: int) -> None:
    """Refuse a number of kept features that is not one of 1 ... n_features."""
    if not 1 <= k <= n_features:
        raise OptionError(
            f"k is {k}, but must lie between 1 and n_features, {n_features}", "choose a smaller k or more features"
        )


class TopkAutoencoder(LinearAutoencoder):
    """f_j = max(z_j, 0), or z_j with `signed`, where z_j is among the k largest, else 0."""

    config: TopkConfig

    def select(self, x: Float[Tensor, "batch d_in"]) -> Selection:
        z = self.pre_activations(x)
        if not self.config.selects_by_contribution:
            return largest(z, self.config.k, signed=self.config.signed)
        norms = self.decoder_norms
        chosen = largest(z * norms, self.config.k, signed=self.config.signed)
        return Selection(chosen.indices, chosen.values / norms[chosen.indices])

    def encode(self, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch n_features"]:
        return scattered(self.select(x), self.config.n_features)


def scattered(chosen: Selection, n_features: int) -> Float[Tensor, "batch n_features"]:
    """A selection as dense codes."""
    codes = chosen.values.new_zeros(len(chosen.values), n_features)
    return codes.scatter_(1, chosen.indices, chosen.values)
