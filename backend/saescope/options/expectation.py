"""What an annotation admits, in words: `a whole number of at least 1`, `mean or geometric_median`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


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


def expectation(annotation: Any) -> str:
    """What a value has to be."""
    inner, limits = bare(annotation), constraints(annotation)
    if get_origin(inner) is Literal:
        return one_of(get_args(inner))
    if get_origin(inner) is tuple:
        each = get_args(inner)
        if each[-1] is not Ellipsis:
            return f"{len(each)} values, each {expectation(each[0])}"
        least = f"at least {limits.min_length} values" if limits.min_length else "values"
        return f"{least}, each {expectation(each[0])}"
    several = [arg for arg in get_args(inner) if arg is not type(None)]
    if several and inner is not None and get_origin(inner) is not None:
        return " or ".join(expectation(arg) for arg in several)
    return " ".join(filter(None, [WORDS.get(inner, getattr(inner, "__name__", str(inner))), _bounds(limits)]))


def one_of(values: tuple[Any, ...]) -> str:
    """`a, b or c`."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _bounds(limits: msgspec.Meta) -> str:
    low, high = limits.ge, limits.le
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
