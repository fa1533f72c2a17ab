"""Imports run one way: no circle between files, and from higher rooms to lower ones alone.

Every import counts, inside a function and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("backend", "store", "dashboard")
FLOORS = (
    ("store", "progress", "options"),
    ("autoencoders", "models", "denoising"),
    ("checkpoints", "sources"),
    ("metrics",),
    ("training", "precompute", "baselines"),
    ("probing", "evaluation", "anomalies"),
    ("workflows", "dashboard"),
    ("cli",),
)
"""Rooms from the ground up. A room imports from its own floor and lower ones."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

Imports = Mapping[str, frozenset[str]]
"""Module -> modules of saescope that it imports."""


def modules() -> dict[str, Path]:
    """Dotted name -> file, of the whole product; a package goes by its own name."""
    found = {}
    for part in PARTS:
        for path in sorted((ROOT / part / "saescope").rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / part).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(source: str, known: Mapping[str, object]) -> Iterator[str]:
    """Modules among `known` that `source` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield from (name for name in (whole if whole in known else node.module,) if name in known)


@pytest.fixture(scope="module")
def imports() -> Imports:
    known = modules()
    return {name: frozenset(imported(path.read_text(encoding="utf-8"), known)) for name, path in known.items()}


def circle(imports: Imports) -> list[str]:
    """The modules of one circle in order; empty where there is none."""
    finished: set[str] = set()
    for start in imports:
        path: list[str] = []
        waiting: list[tuple[str, Iterator[str]]] = []
        if start not in finished:
            path, waiting = [start], [(start, iter(sorted(imports[start])))]
        while waiting:
            name, others = waiting[-1]
            other = next(others, None)
            if other is None:
                finished.add(name)
                waiting.pop()
                path.pop()
            elif other in path:
                return [*path[path.index(other) :], other]
            elif other not in finished:
                path.append(other)
                waiting.append((other, iter(sorted(imports[other]))))
    return []


def room(module: str) -> str:
    return module.split(".")[1]


def test_no_file_imports_itself_by_a_detour(imports: Imports) -> None:
    assert circle(imports) == []


def test_no_room_imports_from_a_higher_floor(imports: Imports) -> None:
    upward = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if FLOOR[room(other)] > FLOOR[room(name)]
    ]
    assert upward == []


def test_no_room_imports_itself_by_a_detour(imports: Imports) -> None:
    rooms: dict[str, set[str]] = {room(name): set() for name in imports}
    for name, others in imports.items():
        rooms[room(name)] |= {room(other) for other in others} - {room(name)}
    assert rooms["store"] == set()
    assert circle({name: frozenset(others) for name, others in rooms.items()}) == []


def test_the_dashboard_needs_the_store_alone(imports: Imports) -> None:
    others = {
        f"{name} imports {other}"
        for name, found in imports.items()
        if room(name) == "dashboard"
        for other in found
        if room(other) not in ("dashboard", "store")
    }
    assert {line.split(" imports ")[0] for line in others} <= {"saescope.dashboard.probes"}, others


def test_every_room_has_its_floor(imports: Imports) -> None:
    assert {room(name) for name in imports} == set(FLOOR)


@pytest.mark.parametrize(
    "source",
    [
        "import saescope.cli.run",
        "from saescope.cli import run",
        "from saescope.cli.run import main",
        "def f():\n    from saescope.cli.run import main",
        "if TYPE_CHECKING:\n    from saescope.cli.run import main",
    ],
)
def test_the_tests_above_can_fail(source: str) -> None:
    known = {"saescope.cli": 0, "saescope.cli.run": 0}
    assert list(imported(source, known)) == ["saescope.cli.run"]
    found = {"saescope.cli.run": frozenset({"saescope.cli"}), "saescope.cli": frozenset(imported(source, known))}
    assert circle(found) == ["saescope.cli.run", "saescope.cli", "saescope.cli.run"]
