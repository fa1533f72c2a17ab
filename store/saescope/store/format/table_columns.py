"""How the columns of a table became the dimensions of an activation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import msgspec

Kind = Literal["number", "boolean", "category"]
Scale = Annotated[float, msgspec.Meta(gt=0)]


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column: its dimensions are (value - centre) / scale, or one of 0 and 1 per category, and, where `indicator`
    says so, one that is 1 where the value is missing."""

    name: str
    kind: Kind = "number"
    centre: float = 0.0
    scale: Scale = 1.0
    fill: float = 0.0
    """What stands for a missing number: the median of those that are there."""
    categories: list[str] = field(default_factory=list)
    """In order, a dimension each. A value that is none of them, and a missing one, is 0 in all."""
    indicator: bool = False
    """Whether a dimension says that the value is missing."""

    @property
    def dimensions(self) -> list[str]:
        """What its dimensions are called."""
        own = [f"{self.name} = {word}" for word in self.categories] if self.kind == "category" else [self.name]
        return [*own, f"{self.name} is missing"] if self.indicator else own

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)
