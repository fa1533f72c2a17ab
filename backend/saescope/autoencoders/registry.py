"""Architectures by name. Every module of this package that registers one is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from saescope.autoencoders.protocol import Autoencoder, AutoencoderConfig
from saescope.store.errors import UserError


class Architecture(NamedTuple):
    """A registered pair: the module's constructor takes its config."""

    name: str
    config: type[AutoencoderConfig]
    module: Callable[[Any], Autoencoder]


_registered: dict[str, Architecture] = {}


def register(config: type[AutoencoderConfig]) -> Callable[[type[Autoencoder]], type[Autoencoder]]:
    """Class decorator: makes the architecture known under `config.architecture`."""

    def add(module: type[Autoencoder]) -> type[Autoencoder]:
        _registered[config.architecture] = Architecture(config.architecture, config, module)
        return module

    return add


@cache
def architectures() -> dict[str, Architecture]:
    """All architectures, by name."""
    package = importlib.import_module("saescope.autoencoders")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"saescope.autoencoders.{module.name}")
    return dict(sorted(_registered.items()))


def architecture(name: str) -> Architecture:
    """The architecture called `name`; `UserError` naming the known ones where there is none."""
    known = architectures()
    if name not in known:
        raise UserError(f"unknown architecture {name!r}", f"known: {', '.join(known)}")
    return known[name]
