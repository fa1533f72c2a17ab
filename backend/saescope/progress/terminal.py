"""Progress on stderr: one live line with a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from saescope.progress import Progress
from saescope.progress.remaining import Estimate, duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_REDRAWS = 0.1
SECONDS_NOT_WORTH_A_LINE = 1.0


class _Notes:
    """Notes, each once, that wait for the first line on the work: a mistake that shows before is told by itself."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: list[str] = []

    def add(self, text: str) -> None:
        if text not in self._known:
            self._known.add(text)
            self._waiting.append(f"note: {text}")

    def taken(self) -> list[str]:
        """Those that wait; they wait no longer."""
        waiting, self._waiting = self._waiting, []
        return waiting


class PlainProgress:
    """A line once a stage has lasted a second, then every ten seconds, and when it ends. Shorter stages say nothing."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._estimate: Estimate | None = None
        self._said: float | None = None
        """When the running stage last said something; None before its first line, infinity once it has ended."""
        self._notes = _Notes()

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = self._clock()
        estimate = self._estimate
        if estimate is None or estimate.stage != stage or done < estimate.done:
            estimate = self._estimate = Estimate(stage, done, now)
            self._said = None
        estimate.done = done
        lasted = now - estimate.started
        extra = f", {note}" if note else ""
        if done >= total:
            if self._said != math.inf and lasted >= SECONDS_NOT_WORTH_A_LINE:
                self._say(f"{stage}: done in {duration(lasted)}{extra}")
            self._said = math.inf
        elif (self._said is None and lasted >= SECONDS_NOT_WORTH_A_LINE) or (
            self._said is not None and now - self._said >= SECONDS_BETWEEN_LINES
        ):
            self._said = now
            left = estimate.seconds_left(done, total, now)
            remaining = f", {duration(left)} left" if left is not None else ""
            self._say(f"{stage}: {done / total:.0%} ({done:,} of {total:,}){remaining}{extra}")

    def tell(self, text: str) -> None:
        self._notes.add(text)

    def say_notes(self) -> None:
        """The notes that have waited until now."""
        self._say()

    def _say(self, *lines: str) -> None:
        try:
            for text in (*self._notes.taken(), *lines):
                print(text, file=self._stream, flush=True)
        except (OSError, ValueError):  # nobody reads it
            return


class BarProgress:
    """A bar for the running stage, redrawn in place. A stage that took a second or more leaves a line above it."""

    def __init__(self, display: RichProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._clock = clock
        self._task: TaskID | None = None
        """The running stage's bar; None before the first stage and once a stage has ended."""
        self._estimate: Estimate | None = None
        self._drawn = 0.0
        self._note = ""
        self._notes = _Notes()

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = self._clock()
        estimate = self._estimate
        if estimate is None or estimate.stage != stage or done < estimate.done:
            self.end()
            estimate = self._estimate = Estimate(stage, done, now)
            self._task = self._display.add_task(stage, total=max(total, 1), left="", note="")
            self._drawn = -math.inf
        estimate.done, self._note = done, note
        if done >= total:
            self.end()
        elif self._task is not None and now - self._drawn >= SECONDS_BETWEEN_REDRAWS:
            self._drawn = now
            if now - estimate.started >= SECONDS_NOT_WORTH_A_LINE:
                self.say_notes()
            left = estimate.seconds_left(done, total, now)
            text = f"{duration(left)} left" if left is not None else ""
            self._display.update(self._task, total=total, completed=done, left=text, note=note)

    def tell(self, text: str) -> None:
        self._notes.add(text)

    def say_notes(self) -> None:
        """The notes that have waited until now."""
        self._say()

    def end(self) -> None:
        """Take the running stage's bar away."""
        if self._task is None or self._estimate is None:
            return
        lasted = self._clock() - self._estimate.started
        self._display.remove_task(self._task)
        self._task = None
        if lasted >= SECONDS_NOT_WORTH_A_LINE:
            extra = f", {self._note}" if self._note else ""
            self._say(f"{self._estimate.stage}: done in {duration(lasted)}{extra}")

    def _say(self, *lines: str) -> None:
        for text in (*self._notes.taken(), *lines):
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def terminal_progress(stream: IO[str] | None = None) -> Iterator[Progress]:
    """Shows progress on `stream` (default: stderr) while the block runs.

    Notes come with the first line on the work, at the latest where the block ends; where it fails before, never.
    """
    out = sys.stderr if stream is None else stream
    if not out.isatty():
        plain = PlainProgress(out)
        yield plain
        plain.say_notes()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    console = Console(file=out)
    columns = (
        TextColumn("{task.description}", markup=False),  # names from data are not markup
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=console, transient=True) as display:
        bar = BarProgress(display)
        yield bar
        bar.say_notes()
