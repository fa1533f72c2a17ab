"""The options of a command, generated from dataclasses (see the package)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from saescope.options.fields import Flag, field_docstrings, flag_of, value_types
from saescope.store.errors import OptionError
from saescope.store.format.expectation import bare, constraints

F = TypeVar("F", bound=Callable[..., Any])
METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}


@dataclass(frozen=True)
class Option:
    """One option, a field of one or several classes."""

    name: str
    """Of the field."""
    flag: Flag
    annotation: Any
    """What it takes, of all classes together."""
    default: Any
    """Value where it is left out, None where that is open or there is none."""
    text: str
    """What it means, with whose it is, in Markdown."""
    required: bool
    """Whether every class needs it."""

    @property
    def metavar(self) -> str:
        """Stands for the value in help and documentation; empty for a switch."""
        inner = bare(self.annotation)
        if self.flag.metavar or inner is bool:
            return self.flag.metavar
        if get_origin(inner) is Literal:
            return ", ".join(get_args(inner))
        if get_origin(inner) is tuple:
            member, *others = (METAVARS.get(bare(each), "X") for each in get_args(inner))
            return f"{member}1,{member}2,..." if get_args(inner)[-1] is Ellipsis else " ".join([member, *others])
        return METAVARS.get(inner, "VALUE")

    @property
    def default_words(self) -> str:
        """What holds where it is left out, in words; empty where there is nothing to say."""
        if self.flag.default or self.default is None:
            return self.flag.default
        if isinstance(self.default, tuple):
            between = "," if get_args(bare(self.annotation))[-1] is Ellipsis else " "
            return between.join(map(str, self.default)) or "none"
        return ("yes" if self.default else "no") if isinstance(self.default, bool) else f"{self.default}"


def collected(classes: Mapping[str, type]) -> dict[str, Option]:
    """The options of dataclasses by the names of their fields. The keys name the classes in the texts, where an option
    is not one of all.

    Raises `OptionError` where a field of one name has different types or flags in two classes.
    """
    found: dict[str, dict[str, Any]] = {}
    for owner, cls in classes.items():
        for field in fields(cls):
            if not flag_of(cls, field).hidden:
                found.setdefault(field.name, {})[owner] = field
    return {name: _merged(name, owned, classes) for name, owned in found.items()}


def _merged(name: str, owned: Mapping[str, Any], classes: Mapping[str, type]) -> Option:
    kinds = {owner: value_types(classes[owner])[name] for owner in owned}
    first = next(iter(owned))
    annotation, flag = kinds[first], flag_of(classes[first], owned[first])
    for owner, other in kinds.items():
        together = _joined(annotation, other)
        if together is None or flag_of(classes[owner], owned[owner]).names != flag.names:
            raise OptionError(
                f"{flag.names} is one option of {first} and another of {owner}", "give the field another name"
            )
        annotation = together
    texts: dict[str, list[str]] = {}
    for owner, field in owned.items():
        texts.setdefault(
            flag_of(classes[owner], field).help or field_docstrings(classes[owner]).get(name, ""), []
        ).append(owner)
    described = " ".join(f"{_whose(owners, classes)}{text}" for text, owners in texts.items())
    default = owned[first].default
    required = default is MISSING and len(owned) == len(classes)
    return Option(name, flag, annotation, None if default is MISSING else default, described, required)


def _joined(one: Any, other: Any) -> Any:
    """An annotation for both: choices are joined, other types must be the same. None where they are not."""
    if get_origin(bare(one)) is Literal and get_origin(bare(other)) is Literal:
        return Literal[tuple(dict.fromkeys((*get_args(bare(one)), *get_args(bare(other)))))]
    return one if bare(one) == bare(other) else None


def owners_in_words(owners: Sequence[str], everyone: Sequence[str]) -> str:
    """`relu, gated`, or `all but deep` where that is shorter; empty where it is everyone."""
    others = [name for name in everyone if name not in owners]
    if not others:
        return ""
    return f"all but {', '.join(others)}" if len(others) < len(owners) / 2 else ", ".join(owners)


def _whose(owners: list[str], classes: Mapping[str, type]) -> str:
    words = owners_in_words(owners, list(classes))
    return f"{words}: " if words else ""


def option_flags(options: Mapping[str, Option], into: str) -> Callable[[F], F]:
    """Adds options to a command, which gets the values that were given as one dict, its argument `into`."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def gathered(*args: Any, **given: Any) -> Any:
            values = {name: given.pop(name) for name in options}
            return command(*args, **{into: {n: v for n, v in values.items() if v is not None}}, **given)

        decorated: Any = gathered
        for option in reversed(list(options.values())):
            decorated = _click_option(option)(decorated)
        return decorated

    return decorate


def _click_option(option: Option) -> Callable[[F], F]:
    inner = bare(option.annotation)
    words = option.default_words
    settings: dict[str, Any] = {
        "required": option.required,
        "help": option.text.replace("`", "") + (f"  [default: {words}]" if words else ""),
    }
    if get_origin(inner) is Literal:
        settings["type"] = click.Choice(get_args(inner))
    elif get_origin(inner) is tuple:
        members = get_args(inner)
        if members[-1] is Ellipsis:
            settings |= {
                "metavar": option.metavar,
                "callback": _numbers_of(bare(members[0]), bool(constraints(option.annotation).min_length)),
            }
        else:
            settings |= {"metavar": option.metavar, "type": tuple(bare(member) for member in members)}
    elif inner is bool:
        settings["default"] = None  # else a switch that was left out would read as one that was turned off
    else:
        settings |= {"metavar": option.metavar, "type": inner if inner in (int, float) else str}
    return click.option(option.flag.names, option.name, **settings)


def _numbers_of(
    kind: type[int] | type[float], some: bool
) -> Callable[[click.Context, click.Parameter, str | None], tuple[float, ...] | None]:
    def parse(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        """`64,192` as numbers; `0` stands for none of them, where there may be none."""
        if text == "0" and not some:
            return ()
        try:
            return None if text is None else tuple(kind(word) for word in text.split(","))
        except ValueError:
            such = "whole numbers such as 64,192" if kind is int else "numbers such as 0.5,2"
            raise click.BadParameter(f"{text!r} is no list of {such}", context, parameter) from None

    return parse
