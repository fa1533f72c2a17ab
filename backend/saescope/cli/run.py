"""Runs one command and turns whatever it raises into an exit code and a message.

0    done
1    our failure (with a traceback, for a report), or faults that `verify` found
2    the user's mistake, told in one or two lines on stderr
130  interrupted
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from saescope.store.errors import SaescopeError, UserError

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130

_USERS_OS_ERRORS = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.EROFS: "choose a folder on a disk that can be written to",
}
"""Troubles of a disk that no command can prevent, and what to try."""


_MEMORY_HINT = "give smaller numbers (features, layers, batch, resamples) or less data, or use a larger machine"


def prepare_streams() -> None:
    """Make every output writable: what the terminal's encoding has not is escaped, and closed streams swallow all.

    A closed descriptor would otherwise be given to the next file that is opened, and printed into.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run(arguments: Sequence[str]) -> int:
    """Run `saescope ARGUMENTS` and return its exit code."""
    for argument in arguments:
        if not is_utf8(argument):
            _say(f"saescope: {argument!a} is not valid UTF-8", "rename the file or folder, or write the text anew")
            return MISTAKE
    from saescope.cli.app import app

    context: click.Context | None = None

    def command() -> str:
        name = context.invoked_subcommand if context else None
        return f"saescope {name}" if name else "saescope"

    try:
        try:
            completion = os.environ.get("_SAESCOPE_COMPLETE")
            if completion:
                from click.shell_completion import shell_complete

                return shell_complete(app, {}, "saescope", "_SAESCOPE_COMPLETE", completion)
            context = app.make_context("saescope", list(arguments))
            with context:
                app.invoke(context)
            return DONE
        except click.exceptions.Exit as ended:
            return ended.exit_code
        except (KeyboardInterrupt, click.Abort):
            _say(f"{command()}: interrupted")
            return INTERRUPTED
        except click.ClickException as error:
            return _click_mistake(command(), error)
        except UserError as error:
            _say(f"{command()}: {_one_line(error.message)}", error.hint)
            return MISTAKE
        except SaescopeError as error:
            _say(f"{command()}: {_one_line(str(error))}")
            return FAILED
        except BrokenPipeError:
            return DONE
        except UnicodeEncodeError as error:
            if is_utf8(str(error.object)):
                return _our_failure(command())
            _say(f"{command()}: {error.object!a} is not valid UTF-8", "rename the file or folder")
            return MISTAKE
        except OSError as error:
            hint = _USERS_OS_ERRORS.get(error.errno or 0)
            if hint is None:
                return _our_failure(command())
            where = f": {error.filename}" if error.filename else ""
            _say(f"{command()}: {error.strerror}{where}", hint)
            return MISTAKE
        except Exception as error:
            if not _lacks_memory(error):
                return _our_failure(command())
            _say(f"{command()}: not enough memory: {_one_line(str(error)) or 'none is left'}", _MEMORY_HINT)
            return MISTAKE
    except KeyboardInterrupt:  # while telling of another ending
        return INTERRUPTED
    finally:
        _flush()


def _click_mistake(command: str, error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else command
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and context and isinstance(context.command, click.Group):
        names = context.command.list_commands(context)
        _say(f"{path}: no command is given", f"commands: {', '.join(names)}; see `{path} --help`")
        return MISTAKE
    _say(f"{path}: {_one_line(error.format_message())}", f"see `{path} --help`")
    return MISTAKE


def _lacks_memory(error: Exception) -> bool:
    """Whether an allocation failed: Python's and NumPy's error, CUDA's, or PyTorch's on the CPU, which has no class."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
    )


def _our_failure(command: str) -> int:
    traceback.print_exc()
    _say(f"{command}: this is a fault of saescope, not of yours; please report it with the lines above")
    return FAILED


def is_utf8(text: str) -> bool:
    """Whether a name or an argument stood in valid UTF-8: Python keeps other bytes as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(message: str, hint: str | None = None) -> None:
    """One or two lines on stderr. A closed stderr is nobody's fault."""
    try:
        click.echo(message, err=True)
        if hint:
            click.echo(f"hint: {_one_line(hint)}", err=True)
    except OSError:
        pass


def _flush() -> None:
    """Flush now: a closed pipe is silenced here rather than reported by the interpreter at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def silence(stream: object) -> None:
    """Point a stream whose reader has gone at the null device, so that nothing more is said about it."""
    try:
        number = stream.fileno()  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
