"""How the inputs of a run are corrupted, so that it learns to rebuild what they were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from saescope.options import flag
from saescope.store.errors import OptionError

CorruptionKind = Literal["none", "gaussian", "masking", "salt_and_pepper", "blur", "patches"]
Levels = Annotated[
    tuple[float, ...], Meta(min_length=1, max_length=2, description="one level, or the lowest and highest")
]
FRACTIONS = ("masking", "salt_and_pepper", "patches")
"""Kinds whose level is a fraction of the input's values."""


@dataclass(frozen=True, kw_only=True)
class CorruptionSettings:
    """Of denoising autoencoders (Vincent et al. 2008): the input is corrupted in training, the clean one the target."""

    corruption: CorruptionKind = "none"
    """What the inputs suffer in training, their clean selves being what is to be rebuilt: `gaussian` noise is added,
    `masking` sets values to 0, `salt_and_pepper` sets them to the least or greatest of `--noise-range`, `blur` is
    Gaussian, `patches` sets squares of the image to 0, or `none`."""
    noise: Levels | None = field(default=None, metadata=flag(metavar="LEVEL[,HIGHEST]"))
    """How much: standard deviation of the noise in the data's units (`gaussian`) or of the filter in pixels (`blur`),
    else the fraction of values. Two numbers: levels between them are drawn (see `--noise-power`)."""
    noise_per: Literal["example", "batch"] = "example"
    """Whether each `example` draws a level of its own, or each `batch`."""
    noise_power: Annotated[float, Meta(gt=0)] = 1.0
    """Of two levels, LOW + (HIGH - LOW) u^P is drawn, u uniform: each between them alike (1), or low ones more often
    (above 1), where a little noise makes the most difference."""
    noise_range: tuple[float, float] | None = None
    """Least and greatest value of a corrupted input: others are clipped to it."""
    noise_patch: Annotated[int, Meta(ge=1)] = 4
    """`patches`: height and width of each square, in pixels."""
    noise_conditioning: bool = False
    """Whether the encoder is told the level as one more input."""

    def check_corruption(self) -> None:
        """`OptionError` where the fields do not go together."""
        if self.corruption == "none":
            ranged = self.noise_range is not None or self.noise_power != 1
            given = self.noise is not None or ranged or self.noise_conditioning
            if given:
                raise OptionError(
                    "a noise level, range or conditioning is given, but no corruption",
                    "say which: --corruption gaussian",
                )
            return
        if self.noise is None:
            raise OptionError(
                f"corruption {self.corruption} needs a level", "give one, e.g. --noise 0.4 or --noise 0,0.8"
            )
        if min(self.noise) < 0 or self.noise[0] > self.noise[-1]:
            raise OptionError(f"noise is {list(self.noise)}; levels are at least 0, the lower one first")
        if self.corruption in FRACTIONS and self.noise[-1] > 1:
            raise OptionError(f"noise is {self.noise[-1]:g}, but of {self.corruption} it is a fraction, 0 to 1")
        if self.noise_range is not None and not self.noise_range[0] < self.noise_range[1]:
            raise OptionError(f"noise_range is {list(self.noise_range)}; the least value comes first", "e.g. 0 1")
        if self.corruption == "salt_and_pepper" and self.noise_range is None:
            raise OptionError("salt_and_pepper needs the least and greatest value", "e.g. --noise-range 0 1")
        if self.noise_power != 1 and self.noise[0] == self.noise[-1]:
            raise OptionError(
                "one noise level is given, which is not drawn", "give a range, e.g. --noise 0,0.8, or no --noise-power"
            )
        if self.noise_conditioning and self.noise[0] == self.noise[-1]:
            raise OptionError(
                "one noise level is given, which needs no telling",
                "give a range, e.g. --noise 0,0.8, or no conditioning",
            )
