"""The methods by name. A method's name is that of its architecture (see `saescope.autoencoders`)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saescope.baselines.settings import (
    DictionarySettings,
    IcaSettings,
    KmeansSettings,
    MethodSettings,
    NeuronsSettings,
    NmfSettings,
    PcaSettings,
    RandomSettings,
)
from saescope.store.errors import OptionError

if TYPE_CHECKING:  # torch is not wanted here
    from saescope.baselines.method import Fit


@dataclass(frozen=True)
class Method:
    """One method: what it takes, and where what fits it is, imported when it is used."""

    name: str
    settings: type[MethodSettings]
    fit_at: str
    """Where its `Fit` is."""

    @property
    def fit(self) -> Fit:
        """What finds its atoms."""
        module, _, attribute = self.fit_at.partition(":")
        found: Fit = getattr(importlib.import_module(module), attribute)
        return found


_HERE = "saescope.baselines"
METHODS = {
    method.name: method
    for method in (
        Method("pca", PcaSettings, f"{_HERE}.pca:fit"),
        Method("omp", DictionarySettings, f"{_HERE}.dictionary_learning:fit"),
        Method("lars", DictionarySettings, f"{_HERE}.dictionary_learning:fit"),
        Method("nmf", NmfSettings, f"{_HERE}.nmf:fit"),
        Method("ica", IcaSettings, f"{_HERE}.ica:fit"),
        Method("kmeans", KmeansSettings, f"{_HERE}.kmeans:fit"),
        Method("random", RandomSettings, f"{_HERE}.random_directions:fit"),
        Method("neurons", NeuronsSettings, f"{_HERE}.neurons:fit"),
    )
}


def method(name: str) -> Method:
    """The method called `name`; `OptionError` naming the known ones where there is none."""
    if name not in METHODS:
        raise OptionError(f"there is no baseline {name!r}", f"known: {', '.join(METHODS)}")
    return METHODS[name]


def chosen(names: Sequence[str]) -> tuple[Method, ...]:
    """The methods of these names, each once, in the registry's order."""
    wanted = {method(name).name for name in names}
    return tuple(each for each in METHODS.values() if each.name in wanted)
