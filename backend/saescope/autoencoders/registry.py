"""Architectures by name: the packages beside this file that have an `ARCHITECTURE`, and those of other distributions.

Another distribution adds one by an entry point of the group `saescope.architectures` that names such a record:

    [project.entry-points."saescope.architectures"]
    spline = "my_package.spline:ARCHITECTURE"

Nothing else has to change: flags, help, checks, documentation, the sweep's parameter and the names of entries come from
its settings. Its config, module, settings and objective may stand in one file. Ours keep settings apart from what needs
torch, so that help and mistakes on the command line do not wait for it, and the objective apart from the module, so
that loading a checkpoint does not import how it was trained.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from saescope.autoencoders.settings.architecture import ArchitectureSettings
from saescope.autoencoders.settings.run import RunSettings
from saescope.store.errors import OptionError

if TYPE_CHECKING:  # torch is not wanted here
    from saescope.autoencoders.objectives.protocol import Objective
    from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig

GROUP = "saescope.architectures"
"""Of entry points."""


@dataclass(frozen=True)
class Architecture:
    """The parts of one architecture. Those that need torch are named as `module:class`, and imported when asked for."""

    name: str
    settings: type[ArchitectureSettings[Any]] | None
    """What training takes; None where it is read from checkpoints but not trained."""
    config_at: str
    """Where the class of what a checkpoint says of it is."""
    module_at: str
    """Where the class of its module is."""
    objective_at: str | None = None
    """Where the class of how it is trained is."""
    constraint: str = ""
    """What it forbids its code: a line of words, a colon, and the formula in plain text. Entries keep it."""

    @property
    def config(self) -> type[AutoencoderConfig]:
        """Class of what a checkpoint says of it."""
        return _imported(self.config_at)

    @property
    def module(self) -> Callable[[Any], Autoencoder]:
        """Class of its module, made from a config."""
        return _imported(self.module_at)

    @property
    def objective(self) -> type[Objective[Any, Any]]:
        """Class of how it is trained."""
        assert self.objective_at is not None
        return _imported(self.objective_at)


@cache
def architectures() -> dict[str, Architecture]:
    """All architectures, by name. `OptionError` where one of another distribution cannot be used."""
    package = importlib.import_module("saescope.autoencoders")
    folders = [found.name for found in pkgutil.iter_modules(package.__path__) if found.ispkg]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in folders]
    found = {m.ARCHITECTURE.name: m.ARCHITECTURE for m in modules if hasattr(m, "ARCHITECTURE")}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.value):
        other = _loaded(point)
        if found.setdefault(other.name, other) != other:
            raise OptionError(f"{point.value} adds an architecture {other.name!r}, but there is one of that name")
    return dict(sorted(found.items()))


def architecture(name: str) -> Architecture:
    """The architecture called `name`; `OptionError` naming the known ones where there is none."""
    known = architectures()
    if name not in known:
        raise OptionError(f"unknown architecture {name!r}", f"known: {', '.join(known)}")
    return known[name]


def trainable() -> dict[str, type[ArchitectureSettings[Any]]]:
    """The settings of all architectures that can be trained, by name."""
    return {name: each.settings for name, each in architectures().items() if each.settings is not None}


def settings_of(name: str) -> type[ArchitectureSettings[Any]]:
    """What training `name` takes; `OptionError` where it is unknown, or can be loaded but not trained."""
    settings = architecture(name).settings
    if settings is None:
        raise OptionError(f"architecture {name!r} cannot be trained", f"trainable: {', '.join(trainable())}")
    return settings


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _loaded(point: EntryPoint) -> Architecture:
    try:
        found = point.load()
    except Exception as error:
        raise OptionError(
            f"the architecture {point.value} cannot be imported: {error}", "mend or uninstall the package that adds it"
        ) from error
    if not isinstance(found, Architecture):
        raise OptionError(f"{point.value} is a {type(found).__name__}, expected a saescope Architecture")
    if found.settings is None:
        return found
    taken = {f.name for f in fields(RunSettings)} & {f.name for f in fields(found.settings)}
    if taken:
        raise OptionError(
            f"{point.value} has settings that every run has: {', '.join(sorted(taken))}", "give them other names"
        )
    return found
