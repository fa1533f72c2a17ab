"""Which presenter an entry has, by the description of its source."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from saescope.dashboard import presentation
from saescope.dashboard.presentation.presenter import Presenter
from saescope.store.format.source import SourceDescription

if TYPE_CHECKING:
    from saescope.store import Entry


def presenter(entry: Entry) -> Presenter:
    """How `entry` is presented: by the presenter for its source's description, or for the nearest base of that."""
    known = presenters()
    chosen = next(known[described] for described in type(entry.source).__mro__ if described in known)
    return chosen(entry)


@cache
def presenters() -> dict[type[SourceDescription], type[Presenter]]:
    """Description of a source -> presenter, of all modules of this package."""
    for module in pkgutil.iter_modules(presentation.__path__):
        importlib.import_module(f"{presentation.__name__}.{module.name}")
    found: dict[type[SourceDescription], type[Presenter]] = {}
    waiting = [Presenter]
    while waiting:
        cls = waiting.pop()
        found |= dict.fromkeys(cls.describes, cls) if "describes" in cls.__dict__ else {}
        waiting += cls.__subclasses__()
    return found
