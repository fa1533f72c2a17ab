"""What an annotation admits, in words: `a whole number of at least 1`, `mean or geometric_median`.

A `msgspec.Meta` with a description says it itself.
"""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

MOST = 2**63 - 1
"""The largest whole number of a table: a bound that goes without saying."""
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "an object",
    list: "a list",
    type(None): "null",
    Path: "a path",
}


def without_none(annotation: Any) -> Any:
    """`X` of `X | None`, else the annotation itself."""
    some = [arg for arg in get_args(annotation) if arg is not type(None)]
    return some[0] if len(some) == 1 and len(get_args(annotation)) == 2 else annotation


def bare(annotation: Any) -> Any:
    """The annotation without None, constraints and other metadata."""
    inner = without_none(annotation)
    return bare(get_args(inner)[0]) if get_origin(inner) is Annotated else inner


def constraints(annotation: Any) -> msgspec.Meta:
    """The bounds of an annotation."""
    inner = without_none(annotation)
    found = [m for m in getattr(inner, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    return found[0] if found else msgspec.Meta()


def expectation(annotation: Any, *, optional: bool = False) -> str:
    """What a value has to be. That it may be None is said where it is `optional`."""
    if optional and type(None) in get_args(annotation):
        return f"{expectation(annotation)} or null"
    inner, limits = bare(annotation), constraints(annotation)
    if limits.description:
        return limits.description
    kind, given = get_origin(inner), get_args(inner)
    if kind is Literal:
        return one_of(given)
    if kind is tuple and given[-1] is not Ellipsis:
        return f"{len(given)} values, each {expectation(given[0])}"
    if kind in (tuple, list):
        least = f"at least {limits.min_length} values" if limits.min_length else "a list of values"
        return f"{least}, each {expectation(given[0])}"
    if kind in (Union, UnionType):
        return " or ".join(expectation(each) for each in given if each is not type(None))
    plain = kind or inner
    return " ".join(filter(None, [WORDS.get(plain, getattr(plain, "__name__", str(plain))), _bounds(limits)]))


def one_of(values: tuple[Any, ...]) -> str:
    """`a, b or c`."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _bounds(limits: msgspec.Meta) -> str:
    low, high = limits.ge, limits.le
    high = None if high == MOST else high
    if low is not None and high is not None:
        return f"between {low} and {high}"
    if limits.gt is not None and limits.lt is not None:
        return f"strictly between {limits.gt} and {limits.lt}"
    parts = [
        ("above", limits.gt),
        ("of at least", low),
        ("below", limits.lt),
        ("of at most", high),
    ]
    return " and ".join(f"{word} {bound}" for word, bound in parts if bound is not None)
