"""The options that decide a training run, the same for train and sweep: the fields of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from saescope.autoencoders.registry import trainable
from saescope.autoencoders.settings.run import RunSettings
from saescope.cli.extras import need
from saescope.options import flag
from saescope.options.flags import Option, collected, option_flags

if TYPE_CHECKING:  # torch is not wanted for a command's help
    from saescope.training.config import TrainingConfig

F = TypeVar("F", bound=Callable[..., Any])

device_option = click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu or cuda.")


@dataclass(frozen=True)
class Kind:
    """What decides which settings there are."""

    architecture: str = field(metadata=flag("--arch", metavar="A"))
    """Architecture."""


def sparsity_settings() -> frozenset[str]:
    """Names of the settings that decide how sparse a code is, one of which a sweep varies."""
    return frozenset({"target_l0", *(name for each in trainable().values() for name in each.sparsity)})


def options() -> dict[str, Option]:
    """By name: the architecture, what every run takes, what architectures take."""
    found = {**collected({"": Kind}), **collected({"": RunSettings}), **collected(trainable())}
    listed = f"Architecture: {', '.join(trainable())}."
    found["architecture"] = replace(found["architecture"], text=listed)
    return found


def training_options(width_required: bool = True) -> Callable[[F], F]:
    """Adds the options; the command gets those that were given as one `training: dict`."""
    found = options()
    found["n_features"] = replace(found["n_features"], required=width_required)
    return option_flags(found, into="training")


def configured(training: dict[str, Any]) -> TrainingConfig:
    """The options as training takes them; `UserError` for a bad combination."""
    need("backend")
    from saescope.training.config import TrainingConfig

    return TrainingConfig(**training)
