"""One thing that is wrong with a store."""

from __future__ import annotations

from dataclasses import dataclass

from saescope.store.records import Record


@dataclass(frozen=True)
class Fault(Record):
    """A fault: in which entry, in which file (with its version where that is not the live one), and what it is."""

    sae_id: str
    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.sae_id}/{self.file}: {self.problem}"
