"""Checkpoints that other libraries made, kept here with what those libraries compute from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.compare import cases, check
from tests.parity.live import LIBRARIES, OUTPUTS

KEPT = [
    pytest.param(folder, library.format, id=f"{name}-{folder.relative_to(OUTPUTS / name)}")
    for name, library in LIBRARIES.items()
    if library.kept
    for folder in cases(OUTPUTS / name)
]


def test_every_library_but_the_live_one_is_here() -> None:
    there = {path.name for path in OUTPUTS.iterdir()}
    assert there == {name for name, library in LIBRARIES.items() if library.kept}
    assert len(KEPT) >= 140


@pytest.mark.parametrize(("folder", "format"), KEPT)
def test_codes_and_reconstructions_agree(folder: Path, format: str) -> None:
    check(folder, format)
