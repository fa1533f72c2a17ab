"""How long a stage will still take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Estimate:
    """One stage from its first report on. Work found done then (a resumed run) does not count towards its speed."""

    stage: str
    done_at_start: int
    started: float
    """Seconds on the clock of the display."""

    def __post_init__(self) -> None:
        self.done = self.done_at_start

    def seconds_left(self, done: int, total: int, now: float) -> float | None:
        """At the mean speed so far; None until there is one."""
        gained, elapsed = done - self.done_at_start, now - self.started
        if gained <= 0 or elapsed <= 0:
            return None
        return (total - done) * elapsed / gained


def duration(seconds: float) -> str:
    """7.2 -> '7 s', 125 -> '2 min 5 s', 7200 -> '2 h 0 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
