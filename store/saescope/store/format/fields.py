"""JSON files held against dataclasses: every field that does not fit is told, not the first alone."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any

import msgspec

from saescope.store.format.expectation import MOST, expectation

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
NOT_IN_FILE = {"not_in_file": True}
"""Metadata of a dataclass's field that is no key of the JSON."""


def parse_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object that `data` holds. Raises `ValueError` for anything else: text that is no JSON, NaN and numbers
    beyond float64, nesting that is too deep, another kind of value."""
    try:
        content = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"is not a JSON object but {shown(content)}")
    return content


def field_faults(cls: type, content: Mapping[str, Any]) -> list[str]:
    """What keeps `content` from being the fields of dataclass `cls`. Keys that it does not know are left to others.

    The description of an annotation is what the message expects: `Annotated[..., msgspec.Meta(description="...")]`.
    """
    faults = []
    for name, expected in field_types(cls).items():
        if name in content:
            fault = type_fault(content[name], expected)
            faults += [f"{name} is {shown(content[name])}, expected {fault}"] if fault else []
        elif name in _required(cls):
            faults.append(f"{name} is missing")
    return faults


def nested_faults(name: str, cls: type, content: object) -> list[str]:
    """The same for an object inside another, under its name there; none where there is no object."""
    return [f"{name}.{fault}" for fault in field_faults(cls, content)] if isinstance(content, dict) else []


def type_fault(value: Any, expected: Any) -> str | None:
    """What was expected of a JSON value, in words; None where it fits. Floats are finite."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError:
        return expectation(expected, optional=True)
    return None if not isinstance(value, float) or math.isfinite(value) else "a finite number"


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, cut short."""
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def field_types(cls: type) -> dict[str, Any]:
    """Field -> the type of its JSON value."""
    return _types(cls)


@cache
def _types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in fields(cls) if "not_in_file" not in f.metadata}


@cache
def _required(cls: type) -> frozenset[str]:
    return frozenset(f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING)
