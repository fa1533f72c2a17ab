"""How the activations at a hook stand in the tensor at one side of a module: as all of it, as some of its columns (one
kind of several, one head), or as what a norm makes of it before its gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from saescope.models.families import Fused, Site
from saescope.models.norms import Norm
from saescope.store.errors import OptionError


class View(Protocol):
    """Reads activations from a module's tensor, and puts others in their place."""

    @property
    def width(self) -> int:
        """Of an activation."""

    @property
    def raw_width(self) -> int:
        """Of the tensor that it is read from."""

    def read(self, raw: Float[Tensor, "*row raw_width"]) -> Float[Tensor, "*row width"]:
        """The activations, of a float32 tensor."""

    def write(
        self, raw: Float[Tensor, "*row raw_width"], new: Float[Tensor, "*row width"]
    ) -> Float[Tensor, "*row raw_width"]:
        """The float32 tensor that has `new` in their place."""


@dataclass(frozen=True)
class Whole:
    """The tensor itself."""

    width: int

    @property
    def raw_width(self) -> int:
        return self.width

    def read(self, raw: Tensor) -> Tensor:
        return raw

    def write(self, raw: Tensor, new: Tensor) -> Tensor:
        return new


@dataclass(frozen=True)
class Columns:
    """Some of its columns, in this order."""

    columns: tuple[int, ...]
    raw_width: int

    @property
    def width(self) -> int:
        return len(self.columns)

    def read(self, raw: Tensor) -> Tensor:
        return raw[..., torch.tensor(self.columns, device=raw.device)]

    def write(self, raw: Tensor, new: Tensor) -> Tensor:
        changed = raw.clone()
        changed[..., torch.tensor(self.columns, device=raw.device)] = new
        return changed


@dataclass(frozen=True, eq=False)
class Normalised:
    """The input of a norm, divided by its length (and centred, by a LayerNorm); it is written to the norm's output."""

    norm: Norm
    width: int

    @property
    def raw_width(self) -> int:
        return self.width

    def read(self, raw: Tensor) -> Tensor:
        return self.norm.normalised(raw)

    def write(self, raw: Tensor, new: Tensor) -> Tensor:
        return self.norm.scaled(new)


def of_heads(width: int, n_heads: int, site: Site, fused: Fused | None, head: int | None, name: str) -> Whole | Columns:
    """The view of queries, keys, values or z of all heads, or of one, in a tensor of this width.

    `n_heads` is how many the site has. Raises `OptionError` for a head that is not there.
    """
    d_head = width // (n_heads * (1 if fused is None else 3))
    if head is not None and not 0 <= head < n_heads:
        raise OptionError(
            f"head {head} is asked for, but {name} has {n_heads} heads, 0 to {n_heads - 1}",
            f"--head 0 to {n_heads - 1}",
        )
    if fused is None and head is None:
        return Whole(width)
    which = 0 if fused is None else ("q", "k", "v").index(site)
    starts = {
        None: [h * d_head for h in range(n_heads)],
        "in_thirds": [(which * n_heads + h) * d_head for h in range(n_heads)],
        "by_head": [(h * 3 + which) * d_head for h in range(n_heads)],
    }[fused]
    chosen = starts if head is None else [starts[head]]
    return Columns(tuple(start + i for start in chosen for i in range(d_head)), width)
