"""The kinds of sources: their options, the modules that open them, and which of them is meant by what is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from saescope.sources.activations.options import ActivationOptions
from saescope.sources.hooked.options import VisionOptions
from saescope.sources.images.options import PatchOptions, PixelOptions
from saescope.sources.options import DataOptions
from saescope.sources.tables.options import TableOptions
from saescope.sources.texts.options import TextOptions
from saescope.sources.toy.options import ToyOptions
from saescope.store.errors import OptionError

KINDS: dict[type[DataOptions], str] = {
    VisionOptions: "saescope.sources.hooked.opening",
    PatchOptions: "saescope.sources.images.opening",
    PixelOptions: "saescope.sources.images.opening",
    TextOptions: "saescope.sources.texts.opening",
    ActivationOptions: "saescope.sources.activations.source",
    TableOptions: "saescope.sources.tables.source",
    ToyOptions: "saescope.sources.toy.source",
}
"""Options -> the module that opens their data (see `opening`). A new kind of source is a line in here."""

_EVERYWHERE = ("device",)
"""What may be given for every kind, though only models heed it."""


def SourceOptions(**given: Any) -> DataOptions:
    """The options of the kind of source that `given` is about: `SourceOptions(images="mnist/", patch=8)`.

    Exactly one of `images`, `texts`, `activations`, `table` and `toy` is given. Texts are read through a model's hook
    point, images too where a `model` is named. Raises `OptionError` for what means nothing for the kind, unless it is
    None or the default where it means something.
    """
    cls = _chosen(given)
    own = {f.name for f in fields(cls)}
    for name, value in given.items():
        if name not in own and value is not None and name not in _EVERYWHERE:
            _refuse_foreign(cls, name, value)
    values = {n: v for n, v in given.items() if n in own}
    for f in fields(cls):
        if _is_required(f) and values.get(f.name) is None:
            raise OptionError(*cls.missing[f.name])
    return cls(**values)


def _chosen(given: Mapping[str, Any]) -> type[DataOptions]:
    """Of the kinds that read the field of the data, the first one whose distinguishing field is given too."""
    names = list(dict.fromkeys(cls.data for cls in KINDS))
    named = [name for name in names if given.get(name) is not None]
    if len(named) > 1:
        both = "both " if len(named) == 2 else ""
        raise OptionError(f"{both}{' and '.join(named)} are given; a source reads one of them")
    if not named:
        raise OptionError(
            "no source is given",
            "name one: --images PATH (or embedded:digits, embedded:photos), --texts PATH (or embedded:python) "
            "with --model and --hook, --activations PATH, --table PATH (or embedded:wine), or --toy 256x64:p=0.02",
        )

    return next(cls for cls in KINDS if cls.data == named[0] and given.get(cls.chosen_by or cls.data) is not None)


def _refuse_foreign(cls: type[DataOptions], name: str, value: Any) -> None:
    """`OptionError` for a field of other kinds, unless its value is the default there."""
    owner = next((other for other in KINDS if any(f.name == name for f in fields(other))), None)
    if owner is None:
        raise TypeError(f"SourceOptions() got an unexpected keyword argument {name!r}")
    f = next(f for f in fields(owner) if f.name == name)
    if _is_required(f) or value != f.default:
        message = f"{name} is given, but it concerns {concern(owner, name)} and {cls.called}"
        raise OptionError(*cls.foreign.get(name, (message, "leave it out")))


def concern(cls: type[DataOptions], name: str) -> str:
    """What a field concerns: as the first class says that has it."""
    bases = (base for base in reversed(cls.__mro__) if issubclass(base, DataOptions))
    return next(base.concern for base in bases if any(f.name == name for f in fields(base)))


def _is_required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING
