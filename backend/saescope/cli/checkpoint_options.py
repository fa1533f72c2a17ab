"""The options that say how a checkpoint is read, the same for build, evaluate and convert."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saescope.store.errors import OptionError

if TYPE_CHECKING:
    from saescope.checkpoints import RecordedPlace

F = TypeVar("F", bound=Callable[..., Any])


def checkpoint_options(command: F) -> F:
    """Adds `--format`, passed as `format_name`, and `--assume`, passed as `assume: dict`."""
    decorated: Any = click.option(
        "--assume",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda _context, _option, given: parse_assumptions(given),
        help="What the checkpoint does not record, e.g. k=32; may be repeated.",
    )(command)
    decorated = click.option(
        "--format", "format_name", metavar="F", help="Format of the checkpoint.  [default: told by its files]"
    )(decorated)
    return decorated


def parse_assumptions(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE pairs as a mapping."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise OptionError(f"--assume {text}: expected NAME=VALUE", "e.g. --assume k=32")
        if found.setdefault(name, value) != value:
            raise OptionError(f"--assume gives {name} twice: {found[name]} and {value}")
    return found


def recorded_by(checkpoint: str, format_name: str | None, assume: dict[str, str]) -> Callable[[], RecordedPlace]:
    """What asks the checkpoint where it was trained, when that matters."""

    def recorded() -> RecordedPlace:
        from saescope.checkpoints import recorded_place

        return recorded_place(checkpoint, format_name, assume)

    return recorded


def say_notes(*notes: str | None) -> None:
    """What the user of a checkpoint, a run or a store should know, a line each on stderr; None says nothing."""
    for note in notes:
        if note is not None:
            click.echo(f"note: {note}", err=True)
