"""Exit codes and messages, whatever a command raises."""

from __future__ import annotations

import errno

import click
import pytest

from saescope.cli import app as app_module
from saescope.cli.run import run
from saescope.store.errors import SaescopeError, UserError


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A stand-in for `saescope ls` that raises what it is given."""

    def install(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(app_module.LazyGroup, "get_command", lambda self, ctx, name: command)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no such thing: 'x'", "try y"), 2),
        (SaescopeError("the server died"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "store"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "store"), 2),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 2),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"), 2),
        (click.exceptions.Exit(1), 1),
    ],
)
def test_exit_code_without_a_traceback(raising, capsys: pytest.CaptureFixture[str], error, code: int) -> None:  # type: ignore[no-untyped-def]
    raising(error)
    assert run(["ls"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) <= 2


def test_a_users_mistake_names_the_command_the_mistake_and_the_next_step(raising, capsys) -> None:  # type: ignore[no-untyped-def]
    raising(UserError("no such thing:\n'x'", "try y"))
    run(["ls"])
    assert capsys.readouterr().err == "saescope ls: no such thing: 'x'\nhint: try y\n"


def test_our_own_failure_shows_where(raising, capsys) -> None:  # type: ignore[no-untyped-def]
    raising(RuntimeError("broken"))
    assert run(["ls"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "fault of saescope" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serv"], ["no command 'serv'", "serve"]),
        (["xyzzy"], ["no command 'xyzzy'", "commands: demo"]),
        (["--frobnicate"], ["--frobnicate"]),
        (["anomaly"], ["saescope anomaly: no command is given", "fit, report, score"]),
        (["ls", "--stoer", "x"], ["saescope ls", "--store"]),
        (["ls"], ["saescope ls", "Missing option '--store'"]),
        (["serve", "--store", "x", "--port", "many"], ["--port", "'many'"]),
        (["export", "a", "--store", "x", "--format", "xls", "--out", "y"], ["--format", "'xls'", "parquet"]),
    ],
)
def test_usage_errors_are_two_lines(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) <= 2
    assert err.startswith("saescope")
    for word in words:
        assert word in err


def test_help_of_the_whole_program_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    bare = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == bare
    for name in app_module.COMMANDS:
        assert f"  {name}" in bare
