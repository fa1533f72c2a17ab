"""Corrupted inputs: noise of a level that is one number or drawn, every draw by a generator that the caller seeds.

Symbols: x clean, n ~ N(0, 1), u ~ U(0, 1), s the level of an example.

    gaussian           x + s n
    masking            0 where u < s, else x
    salt_and_pepper    the least value where u < s / 2, the greatest where s / 2 <= u < s, else x
    blur               x convolved with a Gaussian of standard deviation s pixels, cut at 3 s, edges repeated
    patches            0 in each square of a grid with probability s, else x

All in the data's units; values are clipped to the range last, where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from saescope.autoencoders.settings.corruption import CorruptionSettings
from saescope.store.errors import CheckpointError, OptionError

Side = Annotated[int, msgspec.Meta(ge=1)]
CUT = 3.0
"""Where a blur's Gaussian ends, in standard deviations."""


@dataclass(frozen=True)
class Corruption:
    """What happens to inputs, `shape` being the height, width and channels of those that are images."""

    settings: CorruptionSettings
    shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.settings.corruption in ("blur", "patches") and self.shape is None:
            raise OptionError(
                f"corruption {self.settings.corruption} is of images, but these activations are none",
                "use gaussian or masking",
            )
        if self.settings.corruption == "patches" and self.shape is not None:
            height, width, _ = self.shape
            if self.settings.noise_patch >= max(height, width):
                raise OptionError(
                    f"noise_patch is {self.settings.noise_patch}, but a square of {height} x {width} pixels hides the "
                    "whole image",
                    "give a smaller one with --noise-patch",
                )

    @classmethod
    def of(cls, settings: CorruptionSettings, shape: tuple[int, int, int] | None) -> Corruption | None:
        """The corruption that settings ask for; None where they ask for none."""
        return None if settings.corruption == "none" else cls(settings, shape)

    @property
    def lowest(self) -> float:
        """Least level."""
        assert self.settings.noise is not None
        return self.settings.noise[0]

    @property
    def highest(self) -> float:
        """Greatest level."""
        assert self.settings.noise is not None
        return self.settings.noise[-1]

    def levels(self, n: int, generator: torch.Generator) -> Float[Tensor, " batch"]:
        """A level for each of `n` examples."""
        device = generator.device
        if self.lowest == self.highest:
            return torch.full((n,), self.lowest, device=device)
        drawn = torch.rand(n if self.settings.noise_per == "example" else 1, generator=generator, device=device)
        return (self.lowest + (self.highest - self.lowest) * drawn**self.settings.noise_power).expand(n)

    def apply(
        self, x: Float[Tensor, "batch d_in"], levels: Float[Tensor, " batch"], generator: torch.Generator
    ) -> Float[Tensor, "batch d_in"]:
        """Corrupted inputs, each with its level. Raw units."""
        s, kind = levels.unsqueeze(1), self.settings.corruption

        def uniform(*size: int) -> Tensor:
            return torch.rand(*size, generator=generator, device=x.device, dtype=x.dtype)

        if kind == "gaussian":
            x = x + s * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        elif kind == "masking":
            x = x.masked_fill(uniform(*x.shape) < s, 0.0)
        elif kind == "salt_and_pepper":
            assert self.settings.noise_range is not None
            low, high = self.settings.noise_range
            u = uniform(*x.shape)
            x = x.masked_fill(u < s, high).masked_fill(u < s / 2, low)
        elif kind == "blur":
            x = self._blurred(x, levels)
        else:
            assert kind == "patches"
            assert self.shape is not None
            height, width, channels = self.shape
            side = self.settings.noise_patch
            rows, columns = math.ceil(height / side), math.ceil(width / side)
            hidden = (uniform(len(x), rows * columns) < s).view(len(x), rows, 1, columns, 1, 1)
            hidden = hidden.expand(-1, -1, side, -1, side, channels).reshape(
                len(x), rows * side, columns * side, channels
            )
            x = x.masked_fill(hidden[:, :height, :width].reshape(x.shape), 0.0)
        return x if self.settings.noise_range is None else x.clamp(*self.settings.noise_range)

    def draw(
        self, x: Float[Tensor, "batch d_in"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch d_in"], Float[Tensor, " batch"]]:
        """Corrupted inputs, and their levels."""
        levels = self.levels(len(x), generator)
        return self.apply(x, levels, generator), levels

    def _blurred(self, x: Float[Tensor, "batch d_in"], levels: Float[Tensor, " batch"]) -> Tensor:
        assert self.shape is not None
        height, width, channels = self.shape
        radius = math.ceil(CUT * self.highest)
        if radius == 0:
            return x
        at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
        spread = levels.to(x).clamp(min=1e-6).unsqueeze(1)
        taps = torch.exp(-0.5 * (at / spread).square()) * (at.abs() <= CUT * spread + 0.5)
        kernels = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)
        planes = x.view(len(x), height, width, channels).permute(0, 3, 1, 2).reshape(1, -1, height, width)
        padded = functional.pad(planes, (radius, radius, 0, 0), mode="replicate")
        planes = functional.conv2d(padded, kernels[:, None, None, :], groups=len(kernels))
        padded = functional.pad(planes, (0, 0, radius, radius), mode="replicate")
        planes = functional.conv2d(padded, kernels[:, None, :, None], groups=len(kernels))
        return planes.view(len(x), channels, height, width).permute(0, 2, 3, 1).reshape(x.shape)


def shape_of(about: Any) -> tuple[int, int, int] | None:
    """Height, width and channels of an activation that is an image or a patch, from a source's description."""
    whole, patch = about.get("input_shape"), about.get("patch")
    if whole is None or about.get("model") is not None:
        return None
    try:
        height, width, channels = msgspec.convert(whole, tuple[Side, Side, Side])
        side = msgspec.convert(patch, Side | None)
    except msgspec.ValidationError:
        raise CheckpointError(
            f"the record of the images' shape is damaged: input_shape is {whole!r}, patch {patch!r}",
            "expected height, width and channels, and the patch's side or null",
        ) from None
    return (side, side, channels) if side else (height, width, channels)
