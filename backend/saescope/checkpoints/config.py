"""Values of a checkpoint's JSON, each asked for by the type that it must have: nothing in a foreign file is taken on
trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta

from saescope.store.errors import CheckpointError
from saescope.store.format.expectation import MOST
from saescope.store.format.fields import shown, type_fault

LARGEST = 3.4e38
"""Numbers beyond are none of float32."""
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST, description="a finite number")]
Whole = Annotated[int, Meta(ge=-MOST, le=MOST)]


class Config:
    """A JSON object of the file `where`. A key that is missing, null or empty text is not there.

    Of several names the first that is there counts. Raises `CheckpointError` for a value of another type.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = dict(values)
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def any(self, *names: str) -> Any:
        """Whatever is there; None where nothing is."""
        return next((self.values[name] for name in names if self.values.get(name) not in (None, "")), None)

    def text(self, *names: str) -> str | None:
        return self._checked(names, str)

    def whole(self, *names: str, least: int = 1) -> int | None:
        return self._checked(names, Annotated[int, Meta(ge=least, le=MOST)])

    def number(self, *names: str) -> float | None:
        """A number, whole or not, that float32 can hold."""
        value = self._checked(names, Number)
        return None if value is None else float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._checked((name,), bool)
        return default if value is None else bool(value)

    def layer(self) -> int | None:
        """The number `layer`; None where it is called otherwise."""
        value = self.values.get("layer")
        return None if type_fault(value, Whole) else value

    def inner(self, name: str) -> Config:
        """The object of this name; an empty one where there is none."""
        value = self._checked((name,), dict)
        return Config(value or {}, f"{self.where}: {name}")

    def whole_list(self, name: str) -> list[int]:
        """Whole numbers of 1 or more; an empty list where there are none."""
        value = self._checked((name,), list[Annotated[int, Meta(ge=1, le=MOST)]])
        return value or []

    def refused(self, name: str, expected: str, hint: str | None = None) -> CheckpointError:
        """The error that the value of this name is none of what is expected."""
        return CheckpointError(f"{self.where} has {name} {shown(self.values.get(name))}, expected {expected}", hint)

    def _checked(self, names: tuple[str, ...], expected: Any) -> Any:
        name = next((name for name in names if self.values.get(name) not in (None, "")), None)
        if name is None:
            return None
        if fault := type_fault(self.values[name], expected):
            raise self.refused(name, fault)
        return self.values[name]
