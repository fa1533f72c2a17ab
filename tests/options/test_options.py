"""Checks, flags and documentation of options come from the fields of dataclasses and their docstrings."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal

import click
import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import Meta

from saescope.options import OPEN, Open, check_fields, filled, flag, is_open
from saescope.options.documentation import rows, with_tables
from saescope.options.fields import field_docstrings
from saescope.options.flags import collected, option_flags
from saescope.store.errors import OptionError


@dataclass(frozen=True)
class Shape(Generic[Open]):
    """What the shapes have."""

    sides: Annotated[int, Meta(ge=3)]
    """Number of
    sides."""
    size: Annotated[float, Meta(gt=0)] | Open = field(default=OPEN, metadata=flag(default="by the paper"))
    """Length of a side, in `cm`."""
    filled: bool = field(default=False, metadata=flag("--filled/--empty"))
    """Whether there is paint inside."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Star(Shape[Open]):
    """One with points."""

    tips: Literal["sharp", "round"] = "sharp"
    """How its points end."""
    widths: tuple[Annotated[int, Meta(ge=1)], ...] | None = None
    """Widths of its rings."""
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the inside."""


@dataclass(frozen=True)
class Heart(Shape[Open]):
    """One that is round."""

    tips: Literal["sharp", "split"] = "split"
    """What it ends in."""
    box: tuple[float, float] | None = field(default=None, metadata=flag(metavar="LOW HIGH"))
    """Where it lies."""
    curves: tuple[float, ...] = (0.5, 2.0)
    """How round its sides are."""


def test_docstrings_of_fields_come_from_the_source_through_inheritance() -> None:
    assert field_docstrings(Star)["sides"] == "Number of sides."
    assert field_docstrings(Star)["tips"] == "How its points end."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sides": 2}, "sides is 2, expected a whole number of at least 3\n--sides: Number of sides."),
        ({"sides": True}, "sides is True, expected a whole number"),
        ({"sides": 3.0}, "sides is 3.0, expected a whole number"),
        ({"sides": "3"}, "sides is '3', expected a whole number"),
        ({"size": 0.0}, "size is 0.0, expected a number above 0"),
        ({"size": float("nan")}, "size is nan"),
        ({"size": float("inf")}, "size is inf"),
        ({"filled": 1}, "filled is 1, expected true or false\n--filled/--empty"),
        ({"tips": "blunt"}, "tips is 'blunt', expected sharp or round"),
        ({"widths": (4, 0)}, "widths is (4, 0), expected a list of values, each a whole number of at least 1"),
        ({"share": 1.5}, "share is 1.5, expected a number between 0 and 1"),
        ({"share": None}, "share is None"),
    ],
)
def test_values_are_checked_strictly(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Star(**{"sides": 5, **given})
    assert str(caught.value).startswith(message)


def test_values_stay_what_they_are_but_for_numbers_of_numpy_and_lists() -> None:
    star: Star[None] = Star(5, size=2, widths=[3, 4], share=np.float32(0.25))  # type: ignore[arg-type]
    assert (star.size, type(star.size), star.widths, star.share) == (2, int, (3, 4), 0.25)
    assert type(star.share) is float


def test_what_is_left_open_is_filled_in_and_what_was_given_kept() -> None:
    star: Star[None] = Star(5)
    assert is_open(star)
    assert filled(star, size=2.0, sides=9) == Star(5, size=2.0)
    assert not is_open(filled(star, size=2.0))


def command_of(classes: dict[str, type]) -> click.Command:
    @click.command()
    @option_flags(collected(classes), into="shape")
    def command(shape: dict[str, Any]) -> None:
        click.echo(repr(shape))

    return command


def given(classes: dict[str, type], *arguments: str) -> str:
    return CliRunner().invoke(command_of(classes), arguments).output


def test_a_command_gets_the_values_that_were_given() -> None:
    both = {"star": Star, "heart": Heart}
    out = given(both, "--sides", "5", "--filled", "--widths", "3,4", "--tips", "split", "--box", "0", "1.5")
    assert eval(out) == {"sides": 5, "filled": True, "widths": (3, 4), "tips": "split", "box": (0.0, 1.5)}
    assert eval(given(both, "--sides", "5", "--curves", "0.25,1")) == {"sides": 5, "curves": (0.25, 1.0)}
    assert eval(given(both, "--sides", "5", "--empty", "--widths", "0")) == {"sides": 5, "filled": False, "widths": ()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--sides'"),
        (("--sides", "many"), "'many' is not a valid integer"),
        (("--sides", "5", "--tips", "blunt"), "'blunt' is not one of 'sharp', 'round', 'split'"),
        (("--sides", "5", "--widths", "a"), "'a' is no list of whole numbers"),
        (("--sides", "5", "--curves", "a"), "'a' is no list of numbers"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], message: str) -> None:
    assert message in given({"star": Star, "heart": Heart}, *arguments)


def test_help_says_type_default_and_whose_an_option_is() -> None:
    text = " ".join(given({"star": Star, "heart": Heart}, "--help").split())
    assert "--sides N Number of sides. [required]" in text
    assert "--size X Length of a side, in cm. [default: by the paper]" in text
    assert "--filled / --empty Whether there is paint inside. [default: no]" in text
    assert "star: How its points end. heart: What it ends in." in text
    assert "star: Share of the inside. [default: 0.5]" in text
    assert "--curves X1,X2,... heart: How round its sides are. [default: 0.5,2.0]" in text


def test_one_name_for_two_kinds_of_value_is_refused() -> None:
    @dataclass(frozen=True)
    class Ring:
        sides: str = "none"

    with pytest.raises(OptionError, match="--sides is one option of star and another of ring"):
        collected({"star": Star, "ring": Ring})


def test_rows_of_the_documentation() -> None:
    table = rows(collected({"star": Star, "heart": Heart})).splitlines()
    assert table[0] == "| `--sides` N | Number of sides |"
    assert table[1] == "| `--size` X | Length of a side, in `cm` (by the paper if left out) |"
    assert table[2] == "| `--filled` / `--empty` | Whether there is paint inside (no if left out) |"
    page = with_tables("a\n<!-- options x -->\nold\n<!-- end -->\nb", {"x": "| new | row |"})
    assert page == "a\n<!-- options x -->\n\n| option | meaning |\n|---|---|\n| new | row |\n\n<!-- end -->\nb"
    assert with_tables(page, {"x": "| new | row |"}) == page


def test_classes_typed_at_a_prompt_have_no_docstrings() -> None:
    names: dict[str, Any] = {}
    exec("from dataclasses import dataclass\n@dataclass\nclass Typed:\n    a: int = 1\n", names)  # no source to read
    with pytest.raises((OSError, TypeError)):
        inspect.getsource(names["Typed"])
    assert field_docstrings(names["Typed"]) == {}
