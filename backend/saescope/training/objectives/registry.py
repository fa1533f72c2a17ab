"""Objectives by architecture. Every module of this package that registers one is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from saescope.store.errors import UserError
from saescope.training.objectives.protocol import GeneralObjective

Kind = TypeVar("Kind", bound=GeneralObjective[Any])
AnyObjective = type[GeneralObjective[Any]]

_registered: dict[str, AnyObjective] = {}


def register(architecture: str) -> Callable[[type[Kind]], type[Kind]]:
    """Class decorator: makes the objective known under its architecture's name."""

    def add(objective: type[Kind]) -> type[Kind]:
        _registered[architecture] = objective
        return objective

    return add


@cache
def objectives() -> dict[str, AnyObjective]:
    """All objectives, by the architecture that they train."""
    package = importlib.import_module("saescope.training.objectives")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registered.items()))


def objective(architecture: str) -> AnyObjective:
    """The objective of `architecture`; `UserError` where it can be loaded but not trained."""
    known = objectives()
    if architecture not in known:
        raise UserError(f"architecture {architecture!r} cannot be trained", f"trainable: {', '.join(known)}")
    return known[architecture]
