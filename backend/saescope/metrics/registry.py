"""Every metric by its name: the formula, and what it is taken over.

A metric is registered in the file that computes it, and nowhere else; names and formulas that the store, the command
line and the documentation show come from here. A name that begins with `n_` is a count.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TypeVar


class Over(Enum):
    """What a metric is taken over."""

    METRIC_POSITIONS = "the positions that metrics are taken over: all, or those that training held out"
    ALL_POSITIONS = "all evaluated positions, as the features' own statistics are"
    PREDICTIONS = "predictions of a language model"
    OTHER = "weights, items or words, as the formula says"


@dataclass(frozen=True)
class Metric:
    """One metric's definition."""

    formula: str
    over: Over


_METRICS: dict[str, Metric] = {}
Value = TypeVar("Value")


def register(over: Over, formulas: Mapping[str, str]) -> None:
    """Make metrics known: name -> formula."""
    known = _METRICS.keys() & formulas.keys()
    if known:
        raise ValueError(f"metrics are registered twice: {', '.join(sorted(known))}")
    _METRICS.update({name: Metric(formula, over) for name, formula in formulas.items()})


def define(over: Over, definitions: Mapping[str, tuple[str, Value]]) -> dict[str, Value]:
    """As `register`, name -> formula and what gives the value; returns the latter by name."""
    register(over, {name: formula for name, (formula, _) in definitions.items()})
    return {name: value for name, (_, value) in definitions.items()}


def metric(name: str) -> Metric:
    """The definition of a metric, which whatever computed it has made known; what follows a dot in its name says what
    it was measured on."""
    return _METRICS[name.partition(".")[0]]


def all_metrics() -> dict[str, Metric]:
    """Every metric of this room."""
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
        import_module(module.name)
    return dict(_METRICS)
