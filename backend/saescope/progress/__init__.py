"""How long work reports on itself, whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the state of one long task.

    `stage` is a few words ("training topk k=16", "encoding"); `done` and `total` are in one unit of the task's choice;
    `note` is a short extra, such as the current loss. Calls come as often as the task likes: a display throttles.
    """

    def update(self, stage: str, done: int, total: int, note: str = "") -> None: ...

    def tell(self, text: str) -> None:
        """A line that stays: what was chosen where the data leaves a choice, or what is not read. Said
        once; a display may keep it until the work is under way."""
        ...


class Silent:
    """Shows nothing."""

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        return None

    def tell(self, text: str) -> None:
        return None


SILENT: Progress = Silent()
