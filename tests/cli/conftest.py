"""Runs the command line in this process, and a small real store to run it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saescope.cli.run import run


@dataclass(frozen=True)
class Outcome:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; NaN and infinities are refused."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        content: dict[str, Any] = json.loads(self.out, parse_constant=refuse)
        return content


Saescope = Callable[..., Outcome]


@pytest.fixture
def saescope(capsys: pytest.CaptureFixture[str]) -> Saescope:
    """`saescope("ls", "--store", path)` runs the command and returns its exit code and output."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def store(digits_store: Path) -> Path:
    """Digits, whole and as patches."""
    return digits_store
