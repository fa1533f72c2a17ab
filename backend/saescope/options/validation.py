"""Values of a dataclass's fields against their annotations."""

from __future__ import annotations

import math
from dataclasses import Field, fields
from typing import Any, Never

import msgspec

from saescope.options.fields import field_docstrings, flag_of, value_types
from saescope.store.errors import OptionError
from saescope.store.format.expectation import expectation


def check_fields(record: Any) -> None:
    """`OptionError` for the first field of a dataclass whose value its annotation does not admit.

    Types are taken strictly: a bool is no number, text is none, and numbers are finite. Numbers of NumPy become
    Python's, and lists tuples where a tuple is expected.
    """
    cls: type = type(record)
    for field in fields(cls):
        value, annotation = getattr(record, field.name), value_types(cls)[field.name]
        plain = value.item() if getattr(value, "ndim", None) == 0 else value  # of NumPy, which need not be imported
        try:
            converted = msgspec.convert(plain, annotation, strict=True)
        except msgspec.ValidationError:
            refuse(cls, field, plain)
        if not _finite(plain):
            refuse(cls, field, plain)
        if plain is not value or isinstance(value, list):
            object.__setattr__(record, field.name, converted if isinstance(value, list) else plain)


def refuse(cls: type, field: Field[Any], value: object) -> Never:
    """Raises the `OptionError` for a field's value."""
    doc = field_docstrings(cls).get(field.name)
    expected = expectation(value_types(cls)[field.name])
    names = flag_of(cls, field).names
    raise OptionError(f"{field.name} is {value!r}, expected {expected}", f"{names}: {doc}" if doc else names)


def _finite(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
