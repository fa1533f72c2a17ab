"""docs/command-line.md tells of every command and option, and of no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from saescope.autoencoders.registry import trainable
from saescope.autoencoders.settings.run import RunSettings
from saescope.cli.app import COMMANDS, app
from saescope.cli.option_tables import tables
from saescope.options.documentation import with_tables

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
SECTIONS = {m[1]: m[2] for m in re.finditer(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)}
SHARED = {
    "[SOURCE](#source-where-activations-come-from)": "SOURCE: where activations come from",
    "[training options](#training-options)": "Training options",
}


def command_of(name: str) -> click.Command:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return command


def flags_of(command: click.Command) -> set[str]:
    """Of a group those of its commands."""
    if isinstance(command, click.Group):
        return set().union(*(flags_of(each) for each in command.commands.values()))
    options = [p for p in command.params if isinstance(p, click.Option)]
    return {flag for o in options for flag in (*o.opts, *o.secondary_opts) if flag.startswith("--")}


def documented(name: str) -> set[str]:
    text = SECTIONS[f"saescope {name}"]
    text += "".join(SECTIONS[section] for link, section in SHARED.items() if link in text)
    rows = "\n".join(row for row in text.splitlines() if row.startswith("| `--"))
    first_cells = "\n".join(row.split(" | ")[0] for row in rows.splitlines())
    return set(re.findall(r"--[a-z0-9-]+", first_cells))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    assert documented(name) == flags_of(command_of(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_command_and_each_option_do(name: str) -> None:
    command = command_of(name)
    assert command.help
    assert all(p.help for p in command.params if isinstance(p, click.Option))
    assert f"[`{name}`](#saescope-{name})" in PAGE


def test_tables_of_options_are_those_of_the_fields() -> None:
    """Else `python -m saescope.cli.option_tables docs/command-line.md` writes them anew."""
    assert with_tables(PAGE, tables()) == PAGE


def test_training_options_are_the_fields_of_the_settings() -> None:
    """Each field has its option."""

    def own(name: str) -> set[str]:
        return {str(p.name) for p in command_of(name).params}

    classes = (RunSettings, *trainable().values())
    names = {"architecture", *(f.name for each in classes for f in fields(each))}
    assert names <= own("train")
    assert names <= own("sweep")


def test_source_options_are_the_fields_of_the_sources() -> None:
    from saescope.sources.kinds import KINDS

    names = {f.name for kind in KINDS for f in fields(kind)}
    for command in ("train", "sweep", "build", "evaluate"):
        assert names <= {str(p.name) for p in command_of(command).params}
