"""What a user can say about a toy source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from saescope.options import flag
from saescope.sources.options import DataOptions
from saescope.sources.toy.settings import ToySettings


@dataclass(frozen=True, kw_only=True)
class ToyOptions(DataOptions):
    """Sparse sums of known features."""

    toy: str = field(metadata=flag(metavar="SETTINGS"))
    """Sparse sums of known features, drawn as they are read: `FEATURESxDIMENSIONS`, then if wanted a colon and `p=P`,
    `c=LOW..HIGH`, `items=N`, `groups=G`, `awake=Q`, `seed=S`, separated by commas; e.g. `256x64:p=0.02`."""

    kind: ClassVar[str] = "toy"
    data: ClassVar[str] = "toy"
    called: ClassVar[str] = "the source is a toy"
    concern: ClassVar[str] = "toys"

    def _check(self) -> None:
        self.settings  # noqa: B018 - raises for what cannot be read

    @property
    def settings(self) -> ToySettings:
        """What every row is drawn by."""
        return ToySettings.parse(self.toy)
