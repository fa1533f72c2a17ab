"""What a dataclass says of its fields: docstrings, what they take, which may be left open, how they are given."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from functools import cache
from typing import Any, Never, TypeVar, Union, get_args, get_type_hints

from saescope.store.format.expectation import bare

Open = TypeVar("Open", None, Never)
"""None where a field may be left open, Never where all such fields are filled in."""
OPEN: Any = None
"""Default of a field that is left open."""
Record = TypeVar("Record")


@dataclass(frozen=True)
class Flag:
    """How a field is given on the command line, where that is not as its name, type and docstring say."""

    names: str = ""
    """`--arch`, or `--tied/--untied`."""
    metavar: str = ""
    """Stands for the value in the help."""
    help: str = ""
    """In place of the docstring."""
    default: str = ""
    """What holds where the option is left out, in words."""
    hidden: bool = False
    """Whether there is no option."""


def flag(names: str = "", *, metavar: str = "", help: str = "", default: str = "", hidden: bool = False) -> Any:
    """Metadata of a field: see `Flag`."""
    return {"flag": Flag(names, metavar, help, default, hidden)}


def flag_of(cls: type, field: Field[Any]) -> Flag:
    """The `Flag` of a field of `cls`, its names filled in."""
    given: Flag = field.metadata.get("flag", Flag())
    switch = bare(value_types(cls)[field.name]) is bool
    dashed = field.name.replace("_", "-")
    return replace(given, names=given.names or (f"--{dashed}/--no-{dashed}" if switch else f"--{dashed}"))


def field_docstrings(cls: type) -> dict[str, str]:
    """The string after each field in the source of `cls` and of its bases, white space made single spaces."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if "__dataclass_fields__" in vars(each):
            found |= _own_docstrings(each)
    return found


@cache
def _own_docstrings(cls: type) -> Mapping[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # typed at a prompt
        return {}
    found = {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, after in itertools.pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found


@cache
def value_types(cls: type) -> Mapping[str, Any]:
    """What each field takes, with None in the place of `Open`."""
    return {name: _closed(hint) for name, hint in get_type_hints(cls, include_extras=True).items()}


@cache
def open_fields(cls: type) -> tuple[str, ...]:
    """Names of the fields that may be left open."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(f.name for f in fields(cls) if Open in get_args(hints[f.name]))


def is_open(record: Any) -> bool:
    """Whether any field of a dataclass is left open."""
    cls: type = type(record)
    return any(getattr(record, name) is None for name in open_fields(cls))


def filled(record: Record, **values: Any) -> Record:
    """A dataclass with `values` in the place of fields that are None."""
    return replace(record, **{n: v for n, v in values.items() if getattr(record, n) is None})  # type: ignore[type-var]


def _closed(hint: Any) -> Any:
    args = get_args(hint)
    return Union[tuple(None if arg is Open else arg for arg in args)] if Open in args else hint  # noqa: UP007
