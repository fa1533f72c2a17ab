"""Progress that keeps what it is told."""

from __future__ import annotations


class Told:
    """The lines, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        return None

    def tell(self, text: str) -> None:
        self.lines.append(text)
