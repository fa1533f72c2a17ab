"""`make quick` looks into every room of the house, and names no module that is not there."""

from __future__ import annotations

from pathlib import Path

from tests.quick import QUICK

ROOT = Path(__file__).parents[1]


def test_every_room_is_covered() -> None:
    rooms = {path.name for top in ("backend", "store", "dashboard") for path in (ROOT / top / "saescope").iterdir()}
    covered = {Path(name).parts[0] for name in QUICK}
    assert {room for room in rooms if not room.startswith("__")} - covered == set()


def test_every_module_is_there() -> None:
    assert [name for name in sorted(QUICK) if not (ROOT / "tests" / name).is_file()] == []
