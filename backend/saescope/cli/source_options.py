"""The options that name a source of activations, the same for train, sweep, build and evaluate: one for each field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from saescope.cli.extras import need
from saescope.options.flags import Option, collected, option_flags
from saescope.sources.kinds import KINDS, concern
from saescope.store.errors import OptionError

if TYPE_CHECKING:
    from saescope.checkpoints import RecordedPlace
    from saescope.sources import DataOptions

F = TypeVar("F", bound=Callable[..., Any])


def source_flags() -> dict[str, Option]:
    """The options of all kinds by field: first those that name the data and the model."""
    found: dict[str, Option] = {}
    for cls in KINDS:
        for name, option in collected({cls.kind: cls}).items():
            about, text = concern(cls, name), option.text
            if about and not option.required:
                text = f"{about[:1].upper()}{about[1:]}: {text[:1].lower()}{text[1:]}"
            found.setdefault(name, replace(option, text=text, required=False))
    first = [*dict.fromkeys(cls.data for cls in KINDS), "model", "hook"]
    return {name: found[name] for name in (*first, *(n for n in found if n not in first))}


def source_options(command: F) -> F:
    """Adds SOURCE's options; the command gets those that were given as one `source: dict` of fields."""
    return option_flags(source_flags(), into="source")(command)


def parsed(source: dict[str, Any], device: str, recorded: Callable[[], RecordedPlace] | None = None) -> DataOptions:
    """The options as the sources take them; `OptionError` for a bad combination. A model runs on `device`.

    `recorded` tells where the checkpoint was trained, for a model that is given without a hook.
    """
    need("backend")
    from saescope.sources import SourceOptions

    if recorded is not None and source.get("model") and not source.get("hook"):
        hook = recorded().hook
        if hook is not None:
            raise OptionError(
                "a model is given without a hook point", f"the checkpoint was trained on {hook}: add --hook {hook}"
            )
    return SourceOptions(**source, device=device)
