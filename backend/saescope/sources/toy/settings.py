"""What a toy superposition source is made of, written as one line: `256x64:p=0.02,c=0.5..1.5`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from saescope.store.errors import OptionError

_EXPECTED = "expected FEATURESxDIMENSIONS[:p=P,c=LOW..HIGH,items=N,groups=G,awake=Q,seed=S], e.g. 256x64:p=0.02"
_SIZE = re.compile(r"([0-9]+)x([0-9]+)")


@dataclass(frozen=True)
class ToySettings:
    """How a toy source draws its rows (by the rule of `sources.toy.source`). Bad combinations raise `OptionError`."""

    n_features: int
    """True features."""
    d_in: int
    """Dimensions that they share."""
    p: tuple[float, float] = (0.02, 0.02)
    """Probability that a feature is on: that of the first and of the last one; those between rise in equal ratios."""
    c: tuple[float, float] = (0.5, 1.5)
    """Least and largest coefficient of a feature that is on."""
    items: int = 1_000_000
    """Rows of the source."""
    groups: int = 0
    """Groups of features that tend to be on together; 0: all features are independent."""
    awake: float = 1.0
    """Probability that a group is awake; with 1 groups change nothing."""
    seed: int = 0
    """Of the true features and of every draw."""

    def __post_init__(self) -> None:
        for name in ("n_features", "d_in", "items"):
            if getattr(self, name) < 1:
                raise OptionError(f"toy source: {name} is {getattr(self, name)}; expected at least 1", _EXPECTED)
        low, high = self.p
        if not 0 < low <= high <= 1:
            raise OptionError(
                f"toy source: p is {_shown(self.p)}; expected probabilities above 0 and up to 1, the lower one first"
            )
        low, high = self.c
        if not (0 <= low <= high and 0 < high < math.inf):
            raise OptionError(
                f"toy source: c is {_shown(self.c)}; expected coefficients from 0 up, the lower one first"
            )
        if not 0 <= self.groups <= self.n_features:
            raise OptionError(
                f"toy source: {self.groups} groups of {self.n_features} features; expected at most as many"
            )
        if not 0 < self.awake <= 1:
            raise OptionError(f"toy source: awake is {self.awake:g}; expected a probability above 0 and up to 1")
        if self.awake < 1 and not self.groups:
            raise OptionError("toy source: awake is given, but there are no groups", "add groups=G, or leave it out")
        if self.groups and self.awake < self.p[1]:
            raise OptionError(
                f"toy source: a group is awake with probability {self.awake:g}, so none of its features can be on "
                f"with {self.p[1]:g}",
                "choose an awake of at least p",
            )

    @classmethod
    def parse(cls, text: str) -> ToySettings:
        """The settings of a line such as `256x64:p=0.001..0.1,groups=16,awake=0.2`. Raises `OptionError`."""
        size, _, rest = text.partition(":")
        counts = _SIZE.fullmatch(size.strip())
        if counts is None:
            raise OptionError(f"toy source: {text!r} does not begin with a size", _EXPECTED)
        given: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in rest.split(","))):
            name, equals, value = part.partition("=")
            read = _READ.get(name)
            if not equals or read is None:
                raise OptionError(f"toy source: {part!r} is no setting; there are {', '.join(_READ)}", _EXPECTED)
            if name in given:
                raise OptionError(f"toy source: {name} is given twice", "give it once")
            try:
                given[name] = read(value)
            except ValueError:
                raise OptionError(f"toy source: {part!r} holds no number where one is expected", _EXPECTED) from None
        return cls(int(counts[1]), int(counts[2]), **given)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


def _shown(span: tuple[float, float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g}..{span[1]:g}"


def _span(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    return float(low), float(high if dots else low)


_READ: dict[str, Callable[[str], Any]] = {
    "p": _span,
    "c": _span,
    "items": int,
    "groups": int,
    "awake": float,
    "seed": int,
}
