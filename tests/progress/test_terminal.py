"""The terminal's progress, with a clock that the test turns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TextColumn

from saescope.progress.remaining import Estimate, duration
from saescope.progress.terminal import BarProgress, PlainProgress, terminal_progress
from saescope.store.errors import UserError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[PlainProgress, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return PlainProgress(out, clock), out, clock


def test_plain_lines_come_after_a_second_every_ten_seconds_and_at_the_end() -> None:
    progress, out, clock = plain()
    for step in range(31):
        progress.update("training", step, 30, f"loss {step}")
        clock.now += 1
    assert out.getvalue().splitlines() == [
        "training: 3% (1 of 30), 29 s left, loss 1",
        "training: 37% (11 of 30), 19 s left, loss 11",
        "training: 70% (21 of 30), 9 s left, loss 21",
        "training: done in 30 s, loss 30",
    ]


def test_short_stages_say_nothing() -> None:
    progress, out, clock = plain()
    progress.update("reading", 0, 2)
    clock.now += 0.9
    progress.update("reading", 2, 2)
    assert out.getvalue() == ""


def test_each_stage_and_each_run_of_it_is_timed_anew_and_ends_once() -> None:
    progress, out, clock = plain()
    for stage, seconds in (("training", 3), ("encoding", 4), ("encoding", 5)):
        progress.update(stage, 0, 2)
        clock.now += seconds
        progress.update(stage, 2, 2)
        clock.now += 60
        progress.update(stage, 2, 2)
    assert out.getvalue().splitlines() == [
        "training: done in 3 s",
        "encoding: done in 4 s",
        "encoding: done in 5 s",
    ]


def test_work_done_before_a_resume_does_not_count_towards_the_speed() -> None:
    estimate = Estimate("training", done_at_start=900, started=0.0)
    assert estimate.seconds_left(900, 1000, 5.0) is None
    assert estimate.seconds_left(950, 1000, 5.0) == 5.0


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 59.4, 60, 125, 7300)] == ["0 s", "59 s", "1 min 0 s", "2 min 5 s", "2 h 1 min"]


def test_a_closed_stream_is_no_trouble() -> None:
    progress, out, clock = plain()
    out.close()
    progress.update("training", 0, 10)
    clock.now += 5
    progress.update("training", 1, 10)


def test_a_bar_shows_the_running_stage_and_leaves_a_line() -> None:
    """Square brackets in a name are no markup."""
    out, clock = io.StringIO(), Clock()
    columns = [TextColumn("{task.description}|{task.fields[left]}|{task.fields[note]}", markup=False)]
    with RichProgress(*columns, console=Console(file=out, width=80), transient=True) as display:
        progress = BarProgress(display, clock)
        progress.update("training [bold]", 0, 10)
        clock.now += 5
        progress.update("training [bold]", 5, 10, "loss 1")
        assert [(t.description, t.fields["left"], t.completed) for t in display.tasks] == [
            ("training [bold]", "5 s left", 5)
        ]
        clock.now += 5
        progress.update("training [bold]", 10, 10, "loss 0")
        assert display.tasks == []
        progress.update("reading", 0, 1)
        clock.now += 0.5
        progress.update("encoding", 1, 2)
        assert [t.description for t in display.tasks] == ["encoding"]
    assert "training [bold]: done in 10 s, loss 0" in out.getvalue()
    assert "reading: done" not in out.getvalue()


def test_without_a_terminal_lines_are_plain() -> None:
    out = io.StringIO()
    with terminal_progress(out) as progress:
        assert isinstance(progress, PlainProgress)


def test_on_a_terminal_there_is_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with terminal_progress(out) as progress:
        assert isinstance(progress, BarProgress)
        progress.update("training [x]", 1, 2)
    assert "training [x]" in out.getvalue()
    assert "50 %" in out.getvalue()


def test_notes_wait_for_the_first_line_and_are_said_once() -> None:
    progress, out, clock = plain()
    for _ in range(2):
        progress.tell("split 'test'")
    assert out.getvalue() == ""
    progress.update("reading", 0, 2)
    clock.now += 2
    progress.update("reading", 1, 2)
    lines = out.getvalue().splitlines()
    assert (lines[0], len(lines)) == ("note: split 'test'", 2)


def test_notes_are_said_at_the_end_but_not_before_a_mistake() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out in (io.StringIO(), Terminal()):
        with terminal_progress(out) as progress:
            progress.tell("columns [left] out")
        assert out.getvalue().count("note: columns [left] out\n") == 1

    def fail(out: io.StringIO) -> None:
        with terminal_progress(out) as progress:
            progress.tell("columns [left] out")
            raise UserError("wrong")

    for out in (io.StringIO(), Terminal()):
        with pytest.raises(UserError, match="wrong"):
            fail(out)
        assert "note" not in out.getvalue()
